// Command harbour is the daemon of a landing place. It answers over HTTP:
//
//	GET /version  which release, and of which components
//	GET /next     the next departures, as JSON
//	GET /tide     the height of the water in metres
//	GET /         the board, as text
//
// With -get URL it is a client instead: it prints the answer and fails on anything but 200.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

//go:embed version.txt
var version string

func main() {
	var h harbour
	listen := flag.String("listen", "127.0.0.1:0", "where to listen")
	get := flag.String("get", "", "print the answer of this URL instead")
	flag.StringVar(&h.place, "place", "deck", "deck or shore")
	flag.StringVar(&h.release, "release", "none", "the release that is told by /version")
	flag.StringVar(&h.gauge, "gauge", "gauge", "the program that knows the tide")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := func() error { return serve(ctx, *listen, h) }
	if *get != "" {
		run = func() error { return fetch(ctx, *get, os.Stdout) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "harbour:", err)
		os.Exit(1)
	}
}

func serve(ctx context.Context, listen string, h harbour) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	fmt.Printf("harbour %s at %s listens on http://%s\n", h.release, h.place, l.Addr())
	srv := &http.Server{Handler: h.handler(), ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		ended <- srv.Shutdown(grace)
	}()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

func fetch(ctx context.Context, url string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}
