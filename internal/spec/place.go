package spec

import "fmt"

// Place tells where something stands in one of these files, as FILE:LINE:COLUMN: the key that the keys lead to, or if the
// last of them is an element of a list, that element. For an error that only shows beside other files. What the file does not
// have leaves the place of the last one that it has.
func Place(data []byte, name string, keys ...string) string {
	f := &file{name: name}
	line, column := 1, 1
	n := f.read(data)
	for _, key := range keys {
		if n == nil {
			break
		}
		m, ok := n.members[key]
		if !ok {
			for _, item := range n.items {
				if item.text == key {
					line, column = item.line, item.column
				}
			}
			break
		}
		line, column, n = m.line, m.column, m.value
	}
	return fmt.Sprintf("%s:%d:%d", name, line, column)
}
