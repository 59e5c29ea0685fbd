package spec

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"slipway.dev/slipway/internal/slipway"
)

//go:embed schema/*.json
var schemas embed.FS

// Schemas lists the names that [Schema] knows.
func Schemas() []string { return []string{"component", "experiment", "module", "product"} }

// Schema returns a published JSON Schema (draft 2020-12) by its name: "component", "product", "module" or "experiment".
// Editors that know it complete and check the files while they are written. The error is of kind NotFound.
func Schema(name string) ([]byte, error) {
	if !slices.Contains(Schemas(), name) {
		return nil, slipway.Errorf(slipway.NotFound, "no schema %q", name).Try(suggest(name, Schemas()))
	}
	return schemas.ReadFile("schema/" + name + ".json")
}

// compiled is a schema ready for use, and its own text, from which remedies are taken.
type compiled struct {
	schema *jsonschema.Schema
	text   any
}

var (
	componentSchema  = sync.OnceValue(func() compiled { return compile("component") })
	productSchema    = sync.OnceValue(func() compiled { return compile("product") })
	moduleSchema     = sync.OnceValue(func() compiled { return compile("module") })
	experimentSchema = sync.OnceValue(func() compiled { return compile("experiment") })
)

// compile panics on a broken schema: they are part of the program, and the tests compile each.
func compile(name string) compiled {
	data, err := Schema(name)
	if err != nil {
		panic(err)
	}
	text, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		panic(fmt.Errorf("schema %s: %w", name, err))
	}
	url := "https://slipway.dev/schema/" + name + ".json"
	c := jsonschema.NewCompiler()
	if err := c.AddResource(url, text); err != nil {
		panic(fmt.Errorf("schema %s: %w", name, err))
	}
	return compiled{schema: c.MustCompile(url), text: text}
}

// check reports where the tree differs from the schema.
func (f *file) check(root *node, c compiled) {
	err := c.schema.Validate(root.value)
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		f.violations(root, c, invalid)
	} else if err != nil {
		f.at(root, "", "%v", err)
	}
	f.names(root, c, c.rules(""))
}

// names checks the keys of mappings against propertyNames. The library checks them too, but does not say reliably
// in which mapping it found a wrong one (v6.0.3 hands out a location that it goes on to change).
func (f *file) names(n *node, c compiled, rules map[string]any) {
	rules = c.resolve(rules)
	properties, _ := rules["properties"].(map[string]any)
	additional, _ := rules["additionalProperties"].(map[string]any)
	items, _ := rules["items"].(map[string]any)
	propertyNames, _ := rules["propertyNames"].(map[string]any)
	for _, item := range n.items {
		f.names(item, c, items)
	}
	for _, key := range n.keys {
		m := n.members[key]
		if propertyNames != nil {
			wanted := c.resolve(propertyNames)
			pattern, _ := wanted["pattern"].(string)
			meaning, _ := wanted["description"].(string)
			if ok, err := regexp.MatchString(pattern, key); err != nil || !ok {
				f.report(m.line, m.column, "write "+meaning, "%q is no name to use here", key)
			}
		}
		below, known := properties[key].(map[string]any)
		if !known {
			below = additional
		}
		f.names(m.value, c, below)
	}
}

// resolve follows a $ref.
func (c compiled) resolve(rules map[string]any) map[string]any {
	if ref, ok := rules["$ref"].(string); ok {
		return c.rules(ref)
	}
	return rules
}

func (f *file) violations(root *node, c compiled, v *jsonschema.ValidationError) {
	if _, names := v.ErrorKind.(*kind.PropertyNames); names {
		return // see names
	}
	if len(v.Causes) > 0 {
		for _, cause := range v.Causes {
			f.violations(root, c, cause)
		}
		return
	}
	at, name := root.find(v.InstanceLocation)
	rules := c.rules(v.SchemaURL)
	meaning, _ := rules["description"].(string)
	switch k := v.ErrorKind.(type) {
	case *kind.AdditionalProperties:
		properties, _ := rules["properties"].(map[string]any)
		var known []string
		for p := range properties {
			known = append(known, p)
		}
		for _, key := range k.Properties {
			m := at.members[key]
			f.report(m.line, m.column, suggest(key, known), "unknown key %q", key)
		}
	case *kind.Required:
		for _, key := range k.Missing {
			f.at(at, "add "+key+": to "+orFile(name), "%q is missing", key)
		}
	case *kind.Type:
		var want []string
		for _, w := range k.Want {
			if w != "null" {
				want = append(want, article(w))
			}
		}
		f.at(at, "write "+meaning, "%s is %s, not %s", orFile(name), article(k.Got), strings.Join(want, " or "))
	case *kind.Enum:
		var words []string
		for _, w := range k.Want {
			words = append(words, fmt.Sprint(w))
		}
		f.at(at, suggest(at.text, words), "%s cannot be %q", orFile(name), at.text)
	case *kind.Pattern:
		f.at(at, "write "+meaning, "%q is not fit for %s", k.Got, orFile(name))
	case *kind.MinItems, *kind.MinProperties, *kind.MinLength:
		f.at(at, "write "+meaning, "%s is empty", orFile(name))
	case *kind.Minimum:
		f.at(at, "write "+meaning, "%s is less than %s", orFile(name), k.Want.RatString())
	case *kind.Maximum:
		f.at(at, "write "+meaning, "%s is more than %s", orFile(name), k.Want.RatString())
	default:
		words, _ := json.Marshal(v.ErrorKind.KeywordPath())
		f.at(at, "see `slipway schema`", "%s does not fit the schema at %s", orFile(name), words)
	}
}

func orFile(name string) string { return orText(name, "the file") }

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func article(jsonType string) string {
	switch jsonType {
	case "null":
		return "empty"
	case "string":
		return "text"
	case "integer":
		return "a whole number"
	case "array":
		return "a list"
	case "object":
		return "a mapping"
	case "boolean":
		return "true or false"
	}
	return "a " + jsonType
}

// find follows a JSON pointer as far as the tree goes. The name is the last key on the way, for messages.
func (n *node) find(path []string) (at *node, name string) {
	at = n
	for _, step := range path {
		if m, ok := at.members[step]; ok {
			at, name = m.value, step
			continue
		}
		var i int
		if _, err := fmt.Sscan(step, &i); err == nil && i >= 0 && i < len(at.items) {
			at = at.items[i]
		}
	}
	return at, name
}

// rules finds the part of the schema that a location such as "https://...#/$defs/step" names.
func (c compiled) rules(location string) map[string]any {
	_, pointer, _ := strings.Cut(location, "#")
	here := c.text
	for _, step := range strings.Split(strings.Trim(pointer, "/"), "/") {
		if step == "" {
			continue
		}
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		object, ok := here.(map[string]any)
		if !ok {
			return nil
		}
		here = object[step]
	}
	object, _ := here.(map[string]any)
	return object
}
