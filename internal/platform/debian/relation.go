package debian

import "strings"

// alternative is one way to satisfy a dependency: name[:qualifier] [(op version)] [[arches]] [<profiles>].
type alternative struct {
	name, qualifier string
	op              string // "", "<<", "<=", "=", ">=" or ">>"
	version         string
	arches          string // without brackets
	profiles        string // without the outermost brackets
	or              bool   // the next alternative is for the same dependency
}

// relations reads a field like Depends or Provides, alternative by alternative.
type relations struct {
	text string
	pos  int
}

// next reads one alternative into a; false at the end, or where bad says what is wrong at r.pos.
func (r *relations) next(a *alternative) (ok bool, bad string) {
	r.skip(" \t\n,")
	if r.pos == len(r.text) {
		return false, ""
	}
	*a = alternative{name: r.word()}
	if a.name == "" {
		return false, "a package name is missing"
	}
	if r.take(':') {
		if a.qualifier = r.word(); a.qualifier == "" {
			return false, "an architecture is missing after \"" + a.name + ":\""
		}
	}
	for {
		r.skip(" \t\n")
		if r.pos == len(r.text) {
			return true, ""
		}
		start := r.pos
		switch r.text[r.pos] {
		case ',':
			return true, ""
		case '|':
			r.pos++
			r.skip(" \t\n")
			if r.pos == len(r.text) || r.text[r.pos] == ',' {
				return false, "an alternative is missing after \"|\""
			}
			a.or = true
			return true, ""
		case '(':
			inner, ok := r.bracket(')')
			if !ok {
				return false, "\"(\" is not closed"
			}
			n := 0
			for n < len(inner) && strings.IndexByte("<=>", inner[n]) >= 0 {
				n++
			}
			a.op, a.version = inner[:n], strings.TrimSpace(inner[n:])
			switch a.op {
			case "<<", "<=", "=", ">=", ">>":
			case "<": // of old, and still meant so
				a.op = "<="
			case ">":
				a.op = ">="
			default:
				r.pos = start
				return false, "\"(" + inner + ")\" does not compare with <<, <=, =, >= or >>"
			}
			if a.version == "" || strings.ContainsAny(a.version, " \t\n,|()") {
				r.pos = start
				return false, "\"(" + inner + ")\" has no version"
			}
		case '[':
			if a.arches, ok = r.bracket(']'); !ok {
				return false, "\"[\" is not closed"
			}
		case '<':
			inner, ok := r.bracket('>')
			if !ok {
				return false, "\"<\" is not closed"
			}
			if a.profiles != "" {
				inner = a.profiles + "> <" + inner
			}
			a.profiles = inner
		default:
			return false, "\"" + r.word() + "\" after " + a.name + " is neither \",\", \"|\" nor a restriction"
		}
	}
}

func (r *relations) skip(set string) {
	for r.pos < len(r.text) && strings.IndexByte(set, r.text[r.pos]) >= 0 {
		r.pos++
	}
}

func (r *relations) take(c byte) bool {
	if r.pos < len(r.text) && r.text[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *relations) word() string {
	start := r.pos
	for r.pos < len(r.text) {
		switch r.text[r.pos] {
		case ' ', '\t', '\n', ',', '|', '(', ')', '[', ']', '<', '>', ':':
			return r.text[start:r.pos]
		}
		r.pos++
	}
	return r.text[start:]
}

// bracket reads from an opening bracket to the closing one.
func (r *relations) bracket(end byte) (inner string, ok bool) {
	i := strings.IndexByte(r.text[r.pos:], end)
	if i < 0 {
		return "", false
	}
	inner = strings.TrimSpace(r.text[r.pos+1 : r.pos+i])
	r.pos += i + 1
	return inner, true
}

// allows reports whether version have satisfies "op want".
func allows(have, op, want string) bool {
	if op == "" {
		return true
	}
	switch c := CompareVersions(have, want); op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	default:
		return c > 0
	}
}
