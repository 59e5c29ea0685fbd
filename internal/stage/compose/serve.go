package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/productmd"
)

// Handler serves finished composes, for reading:
//
//	/composes/ID/...              a compose
//	/composes/PRODUCT/latest/...  the newest compose of a product
//	.../SHORT.repo                what dnf reads, naming the address that the request came to
//	.../SHORT.sources             what apt reads, likewise, with the key in it
//	.../VARIANT/npm/NAME          what npm asks a registry, likewise
//
// A compose that is not finished is not there. Paths cannot leave a compose's folder, not through links either.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /composes/{product}/latest/{path...}", func(w http.ResponseWriter, r *http.Request) {
		c, err := s.Latest(r.Context(), r.PathValue("product"))
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Cache-Control", "no-cache")
		r.Header.Del("If-Modified-Since")
		s.serve(undated{w}, r, c, "/composes/"+c.Product+"/latest", r.PathValue("path"))
	})
	mux.HandleFunc("GET /composes/{id}/{path...}", func(w http.ResponseWriter, r *http.Request) {
		c, err := s.Compose(r.Context(), r.PathValue("id"))
		if err == nil && c.State != Finished {
			err = slipway.Errorf(slipway.NotFound, "compose %s is %s: %s", c.ID, c.State, c.Reason)
		}
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("Cache-Control", "public, max-age=86400")
		s.serve(w, r, c, "/composes/"+c.ID, r.PathValue("path"))
	})
	mux.HandleFunc("GET /composes/{$}", s.list)
	return mux
}

// undated answers without the time of a file. Below latest, one path names file after file, of which a later one may be as
// old as the one before or older; a client that asks by time would keep what it has.
type undated struct{ http.ResponseWriter }

func (u undated) WriteHeader(status int) {
	u.Header().Del("Last-Modified")
	u.ResponseWriter.WriteHeader(status)
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	if slipway.Is(err, slipway.NotFound) {
		code = http.StatusNotFound
	}
	http.Error(w, err.Error(), code)
}

// serve answers for the path below the compose that is served at prefix.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, c Compose, prefix, name string) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'")
	root, err := os.OpenRoot(s.cfg.Dir + "/" + c.ID)
	if err != nil {
		refuse(w, fmt.Errorf("compose %s cannot be opened: %w", c.ID, err))
		return
	}
	defer root.Close()
	base := "http://" + r.Host + prefix
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		base = "https://" + r.Host + prefix
	}
	if !strings.Contains(name, "/") {
		switch path.Ext(name) {
		case ".repo":
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-cache")
			fmt.Fprint(w, DnfRepo(c, base))
			return
		case ".sources":
			key, err := root.ReadFile(keyFile)
			if err != nil {
				refuse(w, err)
				return
			}
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Cache-Control", "no-cache")
			fmt.Fprint(w, AptSources(c, base, aptCodename(root), key))
			return
		}
	}
	if text := npmAnswer(root, c, base, name); text != nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-cache")
		w.Write(text)
		return
	}
	if t := contentType(name); t != "" {
		w.Header().Set("Content-Type", t)
	}
	http.StripPrefix(prefix, http.FileServerFS(root.FS())).ServeHTTP(w, r)
}

// npmAnswer is what the registry below VARIANT/npm says of a package, with its tarball's address; nil for any other path.
func npmAnswer(root *os.Root, c Compose, base, name string) []byte {
	for _, v := range c.Variants {
		pkg, ok := strings.CutPrefix(name, npmDir(v)+"/")
		if !ok || strings.HasPrefix(pkg, "-/") || strings.HasPrefix(pkg, "packuments/") {
			continue
		}
		text, err := root.ReadFile(packumentFile(v, pkg))
		if err != nil {
			return nil
		}
		var p packument
		if json.Unmarshal(text, &p) != nil {
			return nil
		}
		for version, of := range p.Versions {
			of.Dist.Tarball = base + "/" + npmDir(v) + "/" + of.Dist.Tarball
			p.Versions[version] = of
		}
		text, err = json.Marshal(p)
		if err != nil {
			return nil
		}
		return text
	}
	return nil
}

// contentType names the types that a system's table may not know or may know as something else; "" for the others.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".rpm":
		return "application/x-rpm"
	case ".deb":
		return "application/vnd.debian.binary-package"
	case ".gz", ".tgz", ".apk":
		return "application/gzip"
	case ".tar":
		return "application/x-tar"
	case ".md", ".asc", ".yaml", ".gpg", ".pub":
		return "text/plain; charset=utf-8"
	}
	switch path.Base(name) {
	case sumsFile, "Release", "InRelease", "Packages":
		return "text/plain; charset=utf-8"
	}
	return ""
}

// aptCodename is the one folder below apt/dists.
func aptCodename(root *os.Root) string {
	entries, err := fs.ReadDir(root.FS(), "apt/dists")
	if err != nil || len(entries) == 0 {
		return ""
	}
	return entries[0].Name()
}

// DnfRepo is the .repo file for a compose that is reached at base: one repository per variant, checked by the key.
func DnfRepo(c Compose, base string) string {
	var b strings.Builder
	for _, v := range c.Variants {
		fmt.Fprintf(&b, "[%s-%s]\nname=%s %s\nbaseurl=%s/%s/$basearch/os/\nenabled=1\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=%s/%s\n\n",
			productmd.Short(c.Product), strings.ToLower(v.ID), c.Product, v.Name, base, v.ID, base, keyFile)
	}
	return b.String()
}

// AptSources is the .sources file (deb822) for a compose that is reached at base; it carries the armored key.
func AptSources(c Compose, base, codename string, key []byte) string {
	var b strings.Builder
	var components, arches []string
	for _, v := range c.Variants {
		components = append(components, aptComponent(v))
		for _, p := range v.Packages {
			if deb := p.Files[pack.DEB]; deb != "" {
				a := strings.TrimSuffix(deb[strings.LastIndexByte(deb, '_')+1:], ".deb")
				if a != "all" && !strings.Contains(" "+strings.Join(arches, " ")+" ", " "+a+" ") {
					arches = append(arches, a)
				}
			}
		}
	}
	fmt.Fprintf(&b, "Types: deb\nURIs: %s/apt/\nSuites: %s\nComponents: %s\n", base, codename, strings.Join(components, " "))
	if len(arches) > 0 {
		fmt.Fprintf(&b, "Architectures: %s\n", strings.Join(arches, " "))
	}
	b.WriteString("Signed-By:\n")
	for line := range strings.Lines(strings.TrimSpace(string(key))) {
		if line = strings.TrimRight(line, "\n"); line == "" {
			line = "." // deb822: an empty line inside a value
		}
		b.WriteString(" " + line + "\n")
	}
	return b.String()
}

var listTemplate = template.Must(template.New("list").Parse(`<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Composes</title>
<style>:root{color-scheme:light dark}body{font:16px/1.6 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}</style>
<h1>Composes</h1>{{range .}}<p><a href="/composes/{{.ID}}/">{{.ID}}</a> {{.Reason}}, {{.FinishedAt.UTC.Format "2006-01-02 15:04"}} UTC</p>{{else}}<p>No compose is finished yet.</p>{{end}}</html>`))

func (s *Service) list(w http.ResponseWriter, r *http.Request) {
	list, err := s.finished(r.Context())
	if err != nil {
		refuse(w, err)
		return
	}
	var page bytes.Buffer
	if err := listTemplate.Execute(&page, list); err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(page.Bytes())
}

func (s *Service) finished(ctx context.Context) (list []Compose, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		list, err = tx.Composes().Find(ctx, slipway.Query{States: []string{string(Finished)}, Newest: true, Limit: 200})
		return err
	})
	return list, err
}
