package speculate

import (
	"encoding/hex"
	"fmt"
)

// MarshalText writes a state as 32 hexadecimal digits, for rows.
func (s State) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x%016x", s.hi, s.lo), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *State) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != 16 {
		return fmt.Errorf("%q is no state", text)
	}
	s.hi, s.lo = 0, 0
	for i := range 8 {
		s.hi, s.lo = s.hi<<8|uint64(raw[i]), s.lo<<8|uint64(raw[8+i])
	}
	return nil
}
