package web

import "unicode/utf8"

// wholeRunes returns how many bytes of p are complete characters: an incomplete one at the end is left out.
func wholeRunes(p []byte) int {
	for i := 1; i <= utf8.UTFMax && i <= len(p); i++ {
		if c := p[len(p)-i]; utf8.RuneStart(c) {
			if !utf8.FullRune(p[len(p)-i:]) {
				return len(p) - i
			}
			break
		}
	}
	return len(p)
}
