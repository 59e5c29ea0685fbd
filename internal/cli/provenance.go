package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/signing"
	"slipway.dev/slipway/internal/provenance"
	"slipway.dev/slipway/internal/slipway"
)

func (a *app) provenanceCmd() *cobra.Command {
	return parent("provenance", "See and verify what artifacts were made from",
		a.provenanceShowCmd(), a.provenanceVerifyCmd(), a.provenanceKeysCmd(), a.provenanceRotateCmd())
}

// about returns a client, and by what the server knows the artifact that an argument names.
func (a *app) about(ctx context.Context, arg string) (c *client.Client, of string, err error) {
	if c, err = a.client(); err != nil {
		return nil, "", err
	}
	of, _, err = named(ctx, arg)
	return c, of, err
}

func (a *app) provenanceShowCmd() *cobra.Command {
	var envelope bool
	cmd := &cobra.Command{
		Use:   "show BUILD|DIGEST|FILE",
		Short: "Show the signed statements about an artifact",
		Long: `Shows the statements about an artifact: a build's output by the build's number, an output
tree or a package file by its digest, or by the file itself. -o json has the whole
statements; --envelope prints the newest one as it was signed, for other tools.`,
		Example: "  slipway provenance show 17\n  slipway provenance show ferry-1.4.0-1.x86_64.rpm\n  slipway provenance show 17 --envelope > ferry.intoto.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, of, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			p, err := c.Provenance(cmd.Context(), of)
			if err != nil {
				return err
			}
			if envelope {
				_, err := a.out.Write(append(p.Attestations[0].Signed, '\n'))
				return err
			}
			return a.print(p, func() *table {
				t := newTable("artifact", "version", "commit", "build", "subject", "key", "age")
				for _, x := range p.Attestations {
					t.add(x.Name, x.Version, short(x.Commit), x.Build, x.Subject, short(x.KeyID), x.Time)
				}
				return t
			})
		},
	}
	cmd.Flags().BoolVar(&envelope, "envelope", false, "print the newest DSSE envelope alone")
	return cmd
}

func short(id string) string { return id[:min(12, len(id))] }

// named turns an argument into what the server knows, and the digest to compare with if the argument says one: a file or folder has its
// digest taken.
func named(ctx context.Context, arg string) (of, digest string, err error) {
	fi, err := os.Stat(arg)
	switch {
	case strings.HasPrefix(arg, artifact.Prefix):
		return arg, arg, nil
	case err != nil:
		return arg, "", nil //nolint:nilerr // not a file: the server may know it
	case fi.IsDir():
		digest, err = treeDigest(ctx, arg)
		return digest, digest, err
	}
	f, err := os.Open(arg)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", "", err
	}
	digest = artifact.Prefix + hex.EncodeToString(sum.Sum(nil))
	return digest, digest, nil
}

// treeDigest is the digest that the folder has as an output.
func treeDigest(ctx context.Context, dir string) (string, error) {
	tmp, err := os.MkdirTemp("", "slipway-tree-")
	if err != nil {
		return "", err
	}
	defer artifact.RemoveTree(tmp)
	disk, err := artifact.OpenDisk(filepath.Join(tmp, "artifacts"))
	if err != nil {
		return "", err
	}
	return artifact.PutTree(ctx, disk, dir)
}

func (a *app) provenanceVerifyCmd() *cobra.Command {
	var keyFile, envelopeFile string
	cmd := &cobra.Command{
		Use:   "verify BUILD|DIGEST|FILE",
		Short: "Check who signed for an artifact, and that it is the artifact",
		Long: `Checks the signature of the statements about an artifact, and that they are about it. A file
(a package) or a folder (an output) is digested here. The keys are the server's, or those
in --key, which somebody gave you in another way; with --envelope no server is asked.

Exit status: 0 verified, 2 a bad signature, 3 no statement, 4 a statement about something else.`,
		Example: "  slipway provenance verify 17\n  slipway provenance verify ferry-1.4.0-1.x86_64.rpm --key instance.pem\n" +
			"  slipway provenance verify ferry.rpm --key instance.pem --envelope ferry.intoto.json",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			of, digest, err := named(ctx, args[0])
			if err != nil {
				return err
			}
			keys, err := a.trusted(ctx, keyFile, envelopeFile)
			if err != nil {
				return err
			}
			verdicts, err := a.verify(ctx, of, digest, envelopeFile, keys)
			if err != nil {
				return err
			}
			return a.print(verdicts, func() *table {
				t := &table{}
				for _, v := range verdicts {
					sandbox := ""
					if v.Unconfined {
						sandbox = "none: it was built unconfined"
					}
					for _, row := range fields("verified", v.Name, "subject", v.Subject, "signed by key", v.KeyID, "builder", v.Builder, "build", v.Invocation,
						"component", v.Component+" "+v.Version, "source", v.Repository+" "+v.Commit, "sandbox", sandbox, "made from", strings.Join(v.Materials, ", ")).rows {
						t.add(row[0], row[1])
					}
				}
				return t
			})
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "trust the public keys in this file, and not what the server says its keys are")
	cmd.Flags().StringVar(&envelopeFile, "envelope", "", "check this DSSE envelope, and ask no server")
	return cmd
}

// trusted reads the keys from a file, or asks the server for them.
func (a *app) trusted(ctx context.Context, file, envelope string) ([]signing.Public, error) {
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "the keys cannot be read: %w", err).At("--key")
		}
		return signing.ParsePublics(text)
	}
	if envelope != "" {
		return nil, slipway.Errorf(slipway.Invalid, "an envelope is checked by keys that you trust").At("--envelope").Try("give them with --key FILE")
	}
	c, err := a.client()
	if err != nil {
		return nil, err
	}
	views, err := c.ProvenanceKeys(ctx)
	if err != nil {
		return nil, err
	}
	var keys []signing.Public
	for _, v := range views {
		k, err := signing.ParsePublic([]byte(v.PEM))
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func (a *app) verify(ctx context.Context, of, digest, envelopeFile string, keys []signing.Public) ([]provenance.Verdict, error) {
	type claim struct {
		signed []byte
		digest string
	}
	var claims []claim
	if envelopeFile != "" {
		if digest == "" {
			return nil, slipway.Errorf(slipway.NotFound, "%q is neither a file nor a digest", of).Try("without a server, give the artifact itself")
		}
		text, err := os.ReadFile(envelopeFile)
		if err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "the envelope cannot be read: %w", err).At("--envelope")
		}
		claims = append(claims, claim{text, digest})
	} else {
		c, err := a.client()
		if err != nil {
			return nil, err
		}
		p, err := c.Provenance(ctx, of)
		if err != nil {
			return nil, err
		}
		for _, x := range p.Attestations {
			want := digest
			if want == "" || x.Subject != digest && x.Action == digest { // named by a build or its action
				want = x.Subject
			}
			claims = append(claims, claim{json.RawMessage(x.Signed), want})
		}
	}
	var verdicts []provenance.Verdict
	for _, c := range claims {
		v, err := provenance.Verify(ctx, c.signed, c.digest, keys...)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

func (a *app) provenanceKeysCmd() *cobra.Command {
	var asPEM bool
	cmd := &cobra.Command{
		Use:     "keys",
		Short:   "List the public keys that verify statements",
		Example: "  slipway provenance keys\n  slipway provenance keys --pem > instance.pem",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			keys, err := c.ProvenanceKeys(cmd.Context())
			if err != nil {
				return err
			}
			if asPEM {
				for _, k := range keys {
					if _, err := io.WriteString(a.out, k.PEM); err != nil {
						return err
					}
				}
				return nil
			}
			return a.print(keys, func() *table {
				t := newTable("key", "active")
				for _, k := range keys {
					t.add(k.ID, map[bool]string{true: "yes"}[k.Active])
				}
				return t
			})
		},
	}
	cmd.Flags().BoolVar(&asPEM, "pem", false, "print the keys themselves")
	return cmd
}

func (a *app) provenanceRotateCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "rotate",
		Short:   "Sign with a new key from now on; earlier statements go on to verify",
		Example: "  slipway provenance rotate",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			k, err := c.RotateProvenanceKey(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(k, func() *table { return fields("key", k.ID) })
		},
	}
}

func (a *app) sbomCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "sbom BUILD|RELEASE|DIGEST|FILE",
		Short: "Show what is in an artifact or a release",
		Long: `Shows the software bill of materials of a build's output, a package file or a release, with
everything below: components, the Go modules in their programs, what a buildroot was made
of. -o json prints the CycloneDX document.`,
		Example: "  slipway sbom ferry-v2026.11.3\n  slipway sbom 17 -o json > ferry.cdx.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, of, err := a.about(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			text, err := c.SBOM(cmd.Context(), of)
			if err != nil {
				return err
			}
			if a.format == "json" {
				_, err := a.out.Write(text)
				return err
			}
			var doc struct {
				Components []struct {
					Type, Name, Version, PURL string
				} `json:"components"`
			}
			if err := json.Unmarshal(text, &doc); err != nil {
				return slipway.Errorf(slipway.Internal, "the server's SBOM cannot be read: %w", err)
			}
			return a.print(json.RawMessage(text), func() *table {
				t := newTable("part", "version", "type", "purl")
				for _, x := range doc.Components {
					purl, _, _ := strings.Cut(x.PURL, "?")
					t.add(x.Name, x.Version, x.Type, purl)
				}
				return t
			})
		},
	}
}
