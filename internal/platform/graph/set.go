package graph

import (
	"iter"
	"math/bits"
)

// Set is a set of vertices, one bit for each. Sets that meet in one operation are of the same graph, hence of one length.
type Set []uint64

// NewSet makes the set of these vertices for a graph of n.
func NewSet(n int, vertices ...int32) Set {
	s := make(Set, (n+63)/64)
	for _, v := range vertices {
		s.Add(v)
	}
	return s
}

// Add puts v into the set and reports whether it is new there.
func (s Set) Add(v int32) bool {
	word, bit := &s[uint32(v)/64], uint64(1)<<(uint32(v)%64)
	fresh := *word&bit == 0
	*word |= bit
	return fresh
}

// Remove takes v out of the set.
func (s Set) Remove(v int32) { s[uint32(v)/64] &^= uint64(1) << (uint32(v) % 64) }

// Has reports whether v is in the set. A nil set has nothing.
func (s Set) Has(v int32) bool {
	i := uint32(v) / 64
	return i < uint32(len(s)) && s[i]&(uint64(1)<<(uint32(v)%64)) != 0
}

// Len counts the vertices in the set.
func (s Set) Len() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// All yields the vertices in the set, ascending.
func (s Set) All() iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				if !yield(int32(i*64 + bits.TrailingZeros64(word))) {
					return
				}
			}
		}
	}
}

// Without returns the vertices of s that are not in other.
func (s Set) Without(other Set) Set {
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] &^ other[i]
	}
	return out
}

// Or returns the vertices that are in either.
func (s Set) Or(other Set) Set {
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] | other[i]
	}
	return out
}

// And returns the vertices that are in both.
func (s Set) And(other Set) Set {
	out := make(Set, len(s))
	for i := range s {
		out[i] = s[i] & other[i]
	}
	return out
}
