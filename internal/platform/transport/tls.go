// Package transport makes TLS configurations of files: for servers, whose certificate may be renewed while they run, and for
// clients that trust an authority of their own besides the system's.
package transport

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"sync"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Server serves the certificate (with its chain) and key in two PEM files. They are read again when they change, so that a renewed
// certificate needs no restart; a pair that cannot be read then leaves the one before in force.
//
// Errors: Invalid when the files are no pair.
func Server(certFile, keyFile string) (*tls.Config, error) {
	p := &pair{cert: certFile, key: keyFile}
	if _, err := p.current(); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "read the server's certificate and key: %w", err).At(certFile).
			Try("give a certificate and its key, both in PEM, with --tls-cert and --tls-key")
	}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.current() },
	}, nil
}

// Client trusts the authorities in a PEM file besides those of the system. No file: nil, which is Go's default.
//
// Errors: Invalid when the file holds no certificate.
func Client(caFile string) (*tls.Config, error) {
	if caFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "read the authority's certificate: %w", err).At(caFile)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, slipway.Errorf(slipway.Invalid, "the file holds no certificate").At(caFile).Try("give the authority's certificate in PEM with --ca")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}

// pair is a certificate and its key on disk.
type pair struct {
	cert, key string

	mu     sync.Mutex
	loaded *tls.Certificate
	times  [2]time.Time
}

func (p *pair) current() (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var times [2]time.Time
	for i, f := range []string{p.cert, p.key} {
		if info, err := os.Stat(f); err == nil {
			times[i] = info.ModTime()
		}
	}
	if p.loaded != nil && times == p.times {
		return p.loaded, nil
	}
	c, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		if p.loaded != nil { // half renewed: the next handshake looks again
			return p.loaded, nil
		}
		return nil, err
	}
	p.loaded, p.times = &c, times
	return p.loaded, nil
}
