package cli

import (
	"bytes"
	"embed"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/slipway"
)

// start is a product to begin with.
//
//go:embed start
var start embed.FS

var productName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

func (a *app) initCmd() *cobra.Command {
	var product string
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write the files of a product to begin with",
		Long: `Makes a folder with a product file, an experiment, a deployment model and one
component, all of which work, and says how to push them. It touches no server,
and no file that is there already.`,
		Example: "  slipway init greeter\n  slipway init . --product greeter",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			dir, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			if product == "" {
				product = strings.ToLower(filepath.Base(dir))
			}
			if !productName.MatchString(product) {
				return slipway.Errorf(slipway.Invalid, "%q cannot be a product's name", product).At("--product").
					Try("use lower-case letters, digits and dashes, beginning with a letter")
			}
			ctx, err := a.resolve()
			if err != nil {
				return err
			}
			written, err := writeStart(dir, map[string]string{"Product": product, "Server": ctx.Server})
			if err != nil {
				return err
			}
			return a.print(map[string]any{"product": product, "dir": dir, "files": written}, func() *table {
				t := newTable()
				for _, name := range written {
					t.add(filepath.Join(dir, name))
				}
				t.add("")
				t.add(filepath.Join(dir, "README.md") + " says what to do next.")
				return t
			})
		},
	}
	cmd.Flags().StringVar(&product, "product", "", "the product's name; default that of the folder")
	return cmd
}

// writeStart writes all files or, if one of them is there already, none.
func writeStart(dir string, values map[string]string) (names []string, err error) {
	texts := map[string][]byte{}
	err = fs.WalkDir(start, "start", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := start.ReadFile(path)
		if err != nil {
			return err
		}
		t, err := template.New(path).Delims("[[", "]]").Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}
		var out bytes.Buffer
		if err := t.Execute(&out, values); err != nil {
			return err
		}
		name := filepath.FromSlash(strings.TrimPrefix(path, "start/"))
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return slipway.Errorf(slipway.Conflict, "the file is there already").At(filepath.Join(dir, name)).
				Try("give an empty folder")
		}
		names = append(names, name)
		texts[name] = out.Bytes()
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		mode := os.FileMode(0o644)
		if strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, texts[name], mode); err != nil {
			return nil, err
		}
	}
	return names, nil
}
