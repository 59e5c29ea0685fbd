package treediff

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// text reports whether data reads as text.
func text(data []byte) bool {
	return utf8.Valid(data) && bytes.IndexByte(data, 0) < 0
}

// lines compares two texts line by line and tells the first few lines that differ.
func (c *comparison) lines(at []string, a, b []byte) {
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	if len(x) == len(y) && len(x) > 1 && slices.Equal(slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))) {
		for i := range x {
			if x[i] != y[i] {
				c.add(below(at, fmt.Sprintf("line %d", i+1)), Order, x[i], y[i])
				return
			}
		}
	}
	const most = 3
	told := 0
	for i := range max(len(x), len(y)) {
		var was, is string
		if i < len(x) {
			was = x[i]
		}
		if i < len(y) {
			is = y[i]
		}
		if was == is {
			continue
		}
		c.add(below(at, fmt.Sprintf("line %d", i+1)), kindOf(was, is), was, is)
		if told++; told == most || len(x) != len(y) {
			return // after a line more or less, everything is shifted
		}
	}
}

// blob tells where two contents without a known format begin to differ, and what stands there.
func (c *comparison) blob(at []string, a, b []byte) {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	different := max(len(a), len(b)) - min(len(a), len(b))
	for j := i; j < min(len(a), len(b)); j++ {
		if a[j] != b[j] {
			different++
		}
	}
	was, is := around(a, i), around(b, i)
	c.add(below(at, fmt.Sprintf("byte %d, %d bytes in all", i, different)), kindOf(was, is), was, is)
}

// around is the printable run about an offset, or the few bytes from it on.
func around(data []byte, at int) string {
	printable := func(i int) bool { return i >= 0 && i < len(data) && data[i] >= 0x20 && data[i] < 0x7f }
	if !printable(at) {
		return fmt.Sprintf("%x", data[min(at, len(data)):min(at+8, len(data))])
	}
	begin, end := at, at
	for printable(begin-1) && at-begin < 30 {
		begin--
	}
	for printable(end) && end-at < 50 {
		end++
	}
	return string(data[begin:end])
}

var (
	// temporary finds names that mktemp, Go's and gcc's temporary folders and the like have.
	temporary = regexp.MustCompile(`(/tmp/|/var/tmp/|/dev/shm/|go-build|\bcc[A-Za-z0-9]{6}\.[os]\b|tmp\.[A-Za-z0-9]{6,})`)
	// clock finds dates and times of day, as people and programs write them.
	clock = regexp.MustCompile(`([0-2]?[0-9]:[0-5][0-9](:[0-5][0-9])?|\b(19|20)[0-9][0-9]-?[01][0-9]-?[0-3][0-9]|\b(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b|\b1[0-9]{9}([0-9]{3}|[0-9]{6}|[0-9]{9})?\b)`)
)

// kindOf guesses from two pieces why they differ.
func kindOf(a, b string) Kind {
	switch {
	case temporary.MatchString(a) && temporary.MatchString(b):
		return Path
	case clock.MatchString(a) && clock.MatchString(b):
		return Timestamp
	case len(a) == len(b) && len(a) > 3 && slices.Equal(slices.Sorted(slices.Values([]byte(a))), slices.Sorted(slices.Values([]byte(b)))) && strings.ContainsAny(a, " ,;:"):
		return Order
	}
	return Content
}
