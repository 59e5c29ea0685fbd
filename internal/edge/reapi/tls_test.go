package reapi_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/edge/reapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/remote"
	"slipway.dev/slipway/internal/platform/transport"
	"slipway.dev/slipway/internal/slipway"
)

// certificate writes a certificate for 127.0.0.1 and its key, and returns the files and who trusts it.
func certificate(t *testing.T) (cert, key string, trust *x509.CertPool) {
	t.Helper()
	made := httptest.NewTLSServer(http.NotFoundHandler())
	made.Close()
	pair := made.TLS.Certificates[0]
	secret, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust = x509.NewCertPool()
	trust.AddCert(made.Certificate())
	return cert, key, trust
}

// With the server's certificate the port speaks TLS, and only that.
func TestTLS(t *testing.T) {
	cert, key, trust := certificate(t)
	secure, err := transport.Server(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, reapi.Config{TLS: secure})
	address, err := remote.Parse("grpcs://" + c.addr + "/some/instance")
	if err != nil || address.TLS == nil {
		t.Fatalf("%+v %v", address, err)
	}
	store := disk(t)
	put := func(m proto.Message) *repb.Digest {
		d, size, err := artifact.PutMessage(t.Context(), store, m)
		if err != nil {
			t.Fatal(err)
		}
		return artifact.Proto(d, size)
	}
	command := put(&repb.Command{Arguments: []string{"/bin/sh", "-c", "cat f; echo x > o"}, OutputPaths: []string{"o"}})
	big := bytes.Repeat([]byte("a line\n"), 1<<20) // more than goes into one message
	text, size, err := store.Put(t.Context(), bytes.NewReader(big))
	if err != nil {
		t.Fatal(err)
	}
	root := put(&repb.Directory{Files: []*repb.FileNode{{Name: "f", Digest: artifact.Proto(text, size)}}})
	action := artifact.Prefix + put(&repb.Action{CommandDigest: command, InputRootDigest: root}).Hash
	run := func(cfg *tls.Config) (string, error) {
		var log bytes.Buffer
		client := c.client(auth.Developer, remote.Config{Endpoint: address.Endpoint, TLS: cfg})
		res, err := remote.New(store, client).Execute(t.Context(), execution.Request{Action: action, Log: &log})
		if err == nil && (res.Status != execution.Exited || res.Action.ExitCode != 0 || len(res.Action.OutputFiles) != 1) {
			t.Errorf("%+v", res)
		}
		return log.String(), err
	}
	trusting := address.TLS.Clone()
	trusting.RootCAs = trust
	if log, err := run(trusting); err != nil || log != string(big) {
		t.Fatalf("%d bytes of log, %v", len(log), err)
	}
	if _, err := c.client(auth.Developer, remote.Config{Endpoint: address.Endpoint, TLS: address.TLS}).Capabilities(t.Context(), true); !slipway.Is(err, slipway.Unavailable) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("who does not know the certificate is told %v", err)
	}
	if _, err := c.client(auth.Developer, remote.Config{}).Capabilities(t.Context(), true); !slipway.Is(err, slipway.Unavailable) {
		t.Errorf("who speaks in the clear is told %v", err)
	}
}
