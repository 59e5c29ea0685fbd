package integration

import "sync"

// cache keeps answers that never change. When it is full it forgets everything; what is needed comes back.
type cache[T any] struct {
	mu      sync.Mutex
	limit   int
	answers map[string]T
}

func (c *cache[T]) get(key string) (T, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.answers[key]
	return t, ok
}

func (c *cache[T]) put(key string, t T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil || len(c.answers) >= c.limit {
		c.answers = map[string]T{}
	}
	c.answers[key] = t
}

// composed is what came of making a candidate.
type composed struct {
	tuple
	err error
}
