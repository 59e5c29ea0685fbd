package debian

import (
	"fmt"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// List is the text of one Packages or Sources file.
type List struct {
	Name string // in errors
	Text string
}

// line is the number of the line of an offset.
func (l *List) line(offset int) int { return 1 + strings.Count(l.Text[:offset], "\n") }

func (l *List) wrong(offset int, format string, args ...any) error {
	return slipway.Errorf(slipway.Invalid, format, args...).At(fmt.Sprintf("%s:%d", l.Name, l.line(offset)))
}

// pieces cuts the list into about n ranges of whole paragraphs.
func (l *List) pieces(n int) [][2]int {
	var cut [][2]int
	start := 0
	for i := 1; i <= n && start < len(l.Text); i++ {
		end := max(len(l.Text)*i/n, start)
		if i == n {
			end = len(l.Text)
		} else if gap := strings.Index(l.Text[end:], "\n\n"); gap >= 0 {
			end += gap + 2
		} else {
			end = len(l.Text)
		}
		cut = append(cut, [2]int{start, end})
		start = end
	}
	return cut
}

// paragraphs reads the range from start to end: field is called for each field, with its value over all its lines, and done after each paragraph
// with the offset at which that begins. The first error ends it.
func (l *List) paragraphs(start, end int, field func(name, value string), done func(offset int) error) error {
	text := l.Text[:end]
	for pos := start; pos < end; {
		if text[pos] == '\n' {
			pos++
			continue
		}
		begin := pos
		for pos < end && text[pos] != '\n' {
			stop := lineEnd(text, pos)
			line := text[pos:stop]
			if line[0] == '#' {
				pos = next(stop, end)
				continue
			}
			colon := strings.IndexByte(line, ':')
			switch {
			case line[0] == ' ' || line[0] == '\t':
				return l.wrong(pos, "a continuation line belongs to no field")
			case colon <= 0 || strings.IndexByte(line[:colon], ' ') >= 0:
				return l.wrong(pos, "%q is no field: it has no name and colon", shorten(line))
			}
			for stop+1 < end && (text[stop+1] == ' ' || text[stop+1] == '\t') {
				stop = lineEnd(text, stop+1)
			}
			field(line[:colon], strings.Trim(text[pos+colon+1:stop], " \t\r\n"))
			pos = next(stop, end)
		}
		if err := done(begin); err != nil {
			return err
		}
	}
	return nil
}

func lineEnd(text string, pos int) int {
	if i := strings.IndexByte(text[pos:], '\n'); i >= 0 {
		return pos + i
	}
	return len(text)
}

func next(stop, end int) int { return min(stop+1, end) }

func shorten(line string) string {
	if len(line) > 60 {
		return line[:60] + "..."
	}
	return line
}
