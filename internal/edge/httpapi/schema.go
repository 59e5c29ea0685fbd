package httpapi

import (
	"path"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// schemaName names the schema of a type. Stages have nouns of the same name, so one that comes neither from package
// slipway nor from here is named with its package in front: CatalogProduct, SpecProduct.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := t.Name()
	if name == "" {
		return huma.DefaultSchemaNamer(t, hint)
	}
	if i := strings.IndexByte(name, '['); i > 0 { // generic: its argument says what it is of
		argument := strings.Trim(name[i:], "[]*")
		dot := strings.LastIndexByte(argument, '.')
		return name[:i] + prefixed(argument[:max(dot, 0)], argument[dot+1:])
	}
	return prefixed(t.PkgPath(), name)
}

func prefixed(pkg, name string) string {
	name = strings.ToUpper(name[:1]) + name[1:]
	pkg = path.Base(pkg)
	if pkg == "." || pkg == "slipway" || pkg == "httpapi" || pkg == "time" || pkg == "json" {
		return name
	}
	return strings.ToUpper(pkg[:1]) + pkg[1:] + name
}
