package spec

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"slipway.dev/slipway/internal/slipway"
)

// Limits of a file. They keep a hostile push from exhausting the reader, whose recursion follows the nesting.
const (
	maxBytes = 256 << 10
	maxDepth = 64
)

// node is a piece of a YAML document that knows where it stands. Only the JSON subset of YAML is read, so that
// what a file means does not depend on who reads it: no anchors, aliases, tags or merge keys.
type node struct {
	line, column int
	value        any      // as encoding/json has it: map[string]any, []any, string, float64, bool, nil
	text         string   // of a scalar: as written, so that 1.10 stays 1.10
	keys         []string // of a mapping: in order of the file
	members      map[string]member
	items        []*node
}

// member is one entry of a mapping.
type member struct {
	line, column int // of the key
	value        *node
}

// file collects the problems of one file.
type file struct {
	name     string
	problems []*slipway.Error
}

// report adds a problem.
func (f *file) report(line, column int, remedy, format string, args ...any) {
	f.problems = append(f.problems, &slipway.Error{
		Kind:    slipway.Invalid,
		Message: fmt.Sprintf(format, args...),
		Where:   fmt.Sprintf("%s:%d:%d", f.name, line, column),
		Remedy:  remedy,
	})
}

// at reports a problem of n.
func (f *file) at(n *node, remedy, format string, args ...any) {
	f.report(n.line, n.column, remedy, format, args...)
}

// err returns all problems as one error, in order of the file; nil if there are none.
func (f *file) err() error {
	slices.SortStableFunc(f.problems, func(a, b *slipway.Error) int {
		return cmp.Or(comparePlaces(a.Where, b.Where), strings.Compare(a.Message, b.Message))
	})
	f.problems = slices.CompactFunc(f.problems, func(a, b *slipway.Error) bool {
		return a.Where == b.Where && a.Message == b.Message
	})
	switch len(f.problems) {
	case 0:
		return nil
	case 1:
		return f.problems[0]
	}
	causes := make([]error, len(f.problems))
	for i, p := range f.problems {
		causes[i] = p
	}
	return &slipway.Error{
		Kind:    slipway.Invalid,
		Message: fmt.Sprintf("%d problems", len(causes)),
		Where:   f.name,
		Cause:   errors.Join(causes...),
	}
}

func comparePlaces(a, b string) int {
	la, ca := place(a)
	lb, cb := place(b)
	if la != lb {
		return la - lb
	}
	return ca - cb
}

func place(where string) (line, column int) {
	rest, col, _ := cutLast(where, ":")
	_, ln, _ := cutLast(rest, ":")
	_, _ = fmt.Sscan(ln, &line)
	_, _ = fmt.Sscan(col, &column)
	return line, column
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// Problems takes apart an error of this package: one element for each problem of the file, in order. For any
// other error it returns nil.
func Problems(err error) []*slipway.Error {
	var e *slipway.Error
	if !errors.As(err, &e) {
		return nil
	}
	joined, ok := e.Cause.(interface{ Unwrap() []error })
	if !ok {
		return []*slipway.Error{e}
	}
	var all []*slipway.Error
	for _, cause := range joined.Unwrap() {
		all = append(all, Problems(cause)...)
	}
	return all
}

// read turns bytes into a tree. It returns nil when the problems it reported leave nothing to look at.
func (f *file) read(data []byte) *node {
	switch {
	case len(data) > maxBytes:
		f.report(1, 1, "keep it small; put long scripts into files of the repository", "the file has %d bytes, more than the %d that are read", len(data), maxBytes)
		return nil
	case !utf8.Valid(data):
		f.report(1, 1, "save it as UTF-8", "the file is not UTF-8 text")
		return nil
	}
	if line, column, deep := tooDeep(string(data)); deep {
		f.report(line, column, "no file of this kind needs that", "nested more than %d deep", maxDepth)
		return nil
	}
	doc, err := parse(data)
	if err != nil {
		line, column, message := 1, 1, err.Error()
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			message = syntax.Message
			if t := syntax.Token; t != nil && t.Position != nil {
				line, column = t.Position.Line, t.Position.Column
			}
		}
		f.report(line, column, "indent with spaces, and quote text that holds ': ' or starts with a sign", "not valid YAML: %s", message)
		return nil
	}
	var body ast.Node
	for _, d := range doc.Docs {
		if d.Body == nil {
			continue
		}
		if body != nil {
			line, column := position(d.Body)
			f.report(line, column, "remove the line ---", "a second document in the file")
			return nil
		}
		body = d.Body
	}
	if body == nil || body.Type() == ast.CommentType {
		f.report(1, 1, "see docs/guides for the shape of the file", "the file is empty")
		return nil
	}
	return f.convert(body, 0)
}

// parse guards against panics of the YAML reader on malformed input, which a push can contain.
func parse(data []byte) (doc *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			doc, err = nil, fmt.Errorf("the reader gave up: %v", p)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// tooDeep finds nesting that the recursive reader should not be given: open brackets, and "- - - -" in a line.
func tooDeep(text string) (line, column int, deep bool) {
	line, column = 1, 0
	open, dashes := 0, 0
	for i := range len(text) {
		column++
		switch text[i] {
		case '\n':
			line, column, dashes = line+1, 0, 0
		case '[', '{':
			open++
		case ']', '}':
			open = max(open-1, 0)
		case '-', '?', ':':
			if i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\t' || text[i+1] == '\n' {
				dashes++
			}
		}
		if open > maxDepth || dashes > maxDepth {
			return line, column, true
		}
	}
	return 0, 0, false
}

func position(n ast.Node) (line, column int) {
	if m, ok := n.(ast.MapNode); ok { // its own token is the first colon
		if it := m.MapRange(); it.Next() {
			return position(it.Key())
		}
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line, t.Position.Column
	}
	return 1, 1
}

// convert makes a node; nil when n is of a kind that is not read, which is reported.
func (f *file) convert(n ast.Node, depth int) *node {
	line, column := position(n)
	out := &node{line: line, column: column}
	if depth > maxDepth {
		f.report(line, column, "no file of this kind needs that", "nested more than %d deep", maxDepth)
		return nil
	}
	switch n := n.(type) {
	case ast.MapNode:
		f.mapping(out, n, depth)
	case *ast.SequenceNode:
		list := []any{}
		for _, v := range n.Values {
			if item := f.convert(v, depth+1); item != nil {
				out.items = append(out.items, item)
				list = append(list, item.value)
			}
		}
		out.value = list
	case *ast.StringNode:
		out.value, out.text = n.Value, n.Value
	case *ast.LiteralNode:
		out.text = n.Value.Value
		out.value = out.text
	case *ast.IntegerNode:
		out.text = n.GetToken().Value
		switch v := n.Value.(type) {
		case int64:
			out.value = float64(v)
		case uint64:
			out.value = float64(v)
		default:
			out.value = 0.0
		}
	case *ast.FloatNode:
		out.value, out.text = n.Value, n.GetToken().Value
	case *ast.BoolNode:
		out.value, out.text = n.Value, n.GetToken().Value
	case *ast.NullNode:
		out.value = nil
	default:
		f.report(line, column, "write the value out in full", "%s is not used in these files", strings.ToLower(n.Type().String()))
		return nil
	}
	return out
}

func (f *file) mapping(out *node, n ast.MapNode, depth int) {
	object := map[string]any{}
	out.members = map[string]member{}
	for it := n.MapRange(); it.Next(); {
		line, column := position(it.Key())
		key, ok := keyText(it.Key())
		if !ok {
			f.report(line, column, "write a plain word before the colon", "a key must be text")
			continue
		}
		if first, dup := out.members[key]; dup {
			f.report(line, column, fmt.Sprintf("it stands already in line %d; remove one", first.line), "the key %q is given twice", key)
			continue
		}
		value := f.convert(it.Value(), depth+1)
		if value == nil {
			continue
		}
		if value.value == nil {
			value.line, value.column = line, column
		}
		out.keys = append(out.keys, key)
		out.members[key] = member{line: line, column: column, value: value}
		object[key] = value.value
	}
	out.value = object
}

func keyText(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return k.GetToken().Value, true
	}
	return "", false
}
