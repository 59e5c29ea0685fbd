package spec

import (
	"slices"
	"strings"
	"time"
)

// The methods below read a node that has passed the schema; of one that has not they give zero values.

// get returns the value under key; nil if it is not there or null.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	v := n.members[key].value
	if v == nil || v.value == nil {
		return nil
	}
	return v
}

// str is the text of a scalar.
func (n *node) str(key string) string {
	if v := n.get(key); v != nil {
		return v.text
	}
	return ""
}

// list is the texts of a sequence; nil when the key is missing, and not nil when it is there.
func (n *node) list(key string) []string {
	v := n.get(key)
	if v == nil {
		return nil
	}
	out := make([]string, 0, len(v.items))
	for _, item := range v.items {
		out = append(out, item.text)
	}
	return out
}

// texts is a mapping from text to text; numbers and truth values stand as they are written.
func (n *node) texts(key string) map[string]string {
	v := n.get(key)
	if v == nil {
		return nil
	}
	out := make(map[string]string, len(v.keys))
	for _, k := range v.keys {
		out[k] = v.members[k].value.text
	}
	return out
}

func (n *node) boolean(key string) bool {
	v := n.get(key)
	if v == nil {
		return false
	}
	b, _ := v.value.(bool)
	return b
}

func (n *node) integer(key string) int {
	v := n.get(key)
	if v == nil {
		return 0
	}
	x, _ := v.value.(float64)
	return int(x)
}

// maxTimeout bounds every duration of a file.
const maxTimeout = 24 * time.Hour

// duration reads "90s", "2m" or "1h30m"; fallback when the key is missing.
func (f *file) duration(n *node, key string, fallback time.Duration) time.Duration {
	v := n.get(key)
	if v == nil {
		return fallback
	}
	d, err := time.ParseDuration(v.text)
	switch {
	case err != nil:
		f.at(v, `write a number with its unit, as in "90s", "2m" or "1h30m"`, "%q is not a duration", v.text)
	case d <= 0 || d > maxTimeout:
		f.at(v, "write a duration above zero and up to 24h", "%q is out of range", v.text)
	}
	return d
}

// unique reports what a list holds twice.
func (f *file) unique(n *node, what string) {
	if n == nil {
		return
	}
	seen := map[string]bool{}
	for _, item := range n.items {
		if seen[item.text] {
			f.at(item, "remove one of them", "%s %q is listed twice", what, item.text)
		}
		seen[item.text] = true
	}
}

// known reports the items of a list that are not among the names.
func (f *file) known(n *node, what string, names []string) {
	if n == nil {
		return
	}
	for _, item := range n.items {
		f.knownText(item, item.text, what, names)
	}
}

func (f *file) knownText(at *node, name, what string, names []string) {
	if !slices.Contains(names, name) {
		f.at(at, suggest(name, names), "no %s %q", what, name)
	}
}

// inside reports a path that does not stay below the folder it is relative to.
func (f *file) inside(n *node, path, folder string) {
	switch {
	case path == "":
		f.at(n, "write a path below "+folder, "an empty path")
	case strings.HasPrefix(path, "/"):
		f.at(n, "write it relative to "+folder, "the path %q is absolute", path)
	case slices.Contains(strings.Split(path, "/"), ".."):
		f.at(n, "write a path below "+folder+" without ..", "the path %q leaves %s", path, folder)
	case strings.ContainsAny(path, "\x00\\\n"):
		f.at(n, "use plain names separated by /", "the path %q has a character that paths must not have", path)
	}
}

// suggest words a remedy: the nearest name, or all of them when they are few.
func suggest(name string, names []string) string {
	best, distance := "", len(name)/3+2
	sorted := slices.Sorted(slices.Values(names))
	for _, candidate := range sorted {
		if d := levenshtein(strings.ToLower(name), strings.ToLower(candidate)); d < distance {
			best, distance = candidate, d
		}
	}
	switch {
	case best != "":
		return "did you mean " + best + "?"
	case len(sorted) == 0:
		return ""
	case len(sorted) <= 20:
		return "there are: " + strings.Join(sorted, ", ")
	}
	return "there are " + strings.Join(sorted[:20], ", ") + " and more"
}

// levenshtein is the edit distance of two words.
func levenshtein(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost = min(previous, row[j], row[j+1]) + 1
			}
			previous, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
