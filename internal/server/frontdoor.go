package server

import (
	"net/http"
	"sync"
)

// frontDoor is the handler of the listener. Until the server is open it says that it is starting, so that a client which comes
// early tries again instead of failing.
type frontDoor struct {
	mu      sync.RWMutex
	handler http.Handler
	closing func()
}

func (d *frontDoor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.RLock()
	handler := d.handler
	d.mu.RUnlock()
	if handler == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the server is starting", http.StatusServiceUnavailable)
		return
	}
	handler.ServeHTTP(w, r)
}

func (d *frontDoor) open(h http.Handler, closing func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handler, d.closing = h, closing
}

// close ends what would keep requests open: streams.
func (d *frontDoor) close() {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closing != nil {
		d.closing()
	}
}
