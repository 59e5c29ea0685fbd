package lifecycle

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// HTTP is an HTTP server as a part.
type HTTP struct {
	srv     *http.Server
	addr    string
	group   *Group
	cancel  context.CancelFunc
	bound   net.Addr
	closing []func()
}

// NewHTTP makes a server that listens on addr ("127.0.0.1:8470"; port 0 picks a free one) when it starts. On shutdown
// it accepts nothing new, calls closing (which ends streams), lets requests under way finish for as long as the part's
// grace, then cancels their contexts. With secure it speaks TLS only; nil is plain HTTP.
func NewHTTP(group *Group, addr string, secure *tls.Config, handler http.Handler, log *slog.Logger, closing ...func()) *HTTP {
	ctx, cancel := context.WithCancel(context.Background())
	return &HTTP{addr: addr, group: group, cancel: cancel, closing: closing, srv: &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}}
}

// Part is the server as a part of its group.
func (h *HTTP) Part() Part {
	return Part{Name: "http", Start: h.start, Stop: h.stop, Grace: 15 * time.Second}
}

// Addr is where the server listens, once it has started.
func (h *HTTP) Addr() net.Addr { return h.bound }

func (h *HTTP) start(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", h.addr)
	if err != nil {
		return err
	}
	h.bound = l.Addr()
	go func() {
		serve := h.srv.Serve
		if h.srv.TLSConfig != nil {
			serve = func(l net.Listener) error { return h.srv.ServeTLS(l, "", "") } // the certificate is the configuration's
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.group.Fail("http", err)
		}
	}()
	return nil
}

func (h *HTTP) stop(ctx context.Context) error {
	for _, f := range h.closing {
		f()
	}
	// Leave time to cut what does not end by itself.
	if deadline, ok := ctx.Deadline(); ok {
		short, cancel := context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/5))
		defer cancel()
		ctx = short
	}
	err := h.srv.Shutdown(ctx)
	h.cancel()
	if errors.Is(err, context.DeadlineExceeded) {
		return h.srv.Close()
	}
	return err
}
