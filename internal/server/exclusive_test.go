package server_test

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

	"slipway.dev/slipway/internal/server"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store/storetest"
)

// Repositories, artifacts and agents belong to a server's folder and bus, so a second server on the same PostgreSQL would take
// jobs that it cannot do. It is refused, and may come when the first one has ended.
func TestOneServerWorksOnADatabase(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	database, folder := storetest.Postgres(t), t.TempDir()
	run := func(ctx context.Context, data string) (started chan string, ended chan error) {
		started, ended = make(chan string, 1), make(chan error, 1)
		go func() {
			ended <- server.Run(ctx, server.Config{Data: data, Listen: "127.0.0.1:0", Database: database, Binary: self,
				Log: server.LogConfig{To: io.Discard}, Started: func(url string) { started <- url }})
		}()
		return started, ended
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	first, stop := context.WithCancel(ctx)
	started, ended := run(first, folder)
	select {
	case <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	started, refused := run(ctx, t.TempDir())
	select {
	case url := <-started:
		t.Errorf("a second server serves at %s", url)
	case err := <-refused:
		if !slipway.Is(err, slipway.Conflict) {
			t.Errorf("the second server ended with %v, want a Conflict", err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the first server ended with %v", err)
	}
	third, stop := context.WithCancel(ctx)
	started, ended = run(third, folder)
	select {
	case <-started:
	case err := <-ended:
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
