package server

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Config says how a server runs. Only Data is required.
type Config struct {
	Data       string        // the folder that the server owns; made if missing
	Listen     string        // host:port of HTTP; default 127.0.0.1:8470; port 0 chooses a free one
	URL        string        // under which others reach it; default http://HOST:PORT (https with a certificate) of Listen
	TLSCert    string        // PEM file of the certificate that HTTP and the embedded bus serve, with its chain; default they do not speak TLS
	TLSKey     string        // PEM file of its key
	Database   string        // "postgres://..."; default SQLite in Data
	Bus        string        // "nats://..." of an external bus; default embedded in the process
	BusAddr    string        // host:port where the embedded bus listens for agents; default a free port of Listen's host, kept across restarts
	Slots      int           // how many builds run at once in the server; default the number of processors; negative: none
	Lease      time.Duration // how long a worker's claim of a task holds without renewal; default 30 s
	KeepBuilds time.Duration // how long outputs of builds are kept that nothing needs; default 30 days
	KeepLogs   time.Duration // how long logs of builds are kept; default 30 days
	SMTP       string        // "smtp://[USER:PASSWORD@]HOST:PORT" for notifications by mail; default none is sent
	MailFrom   string        // sender of mail; default slipway@localhost
	SignKey    string        // file with an armored OpenPGP private key that signs packages and repositories; default one of the server's own
	SignPass   string        // its passphrase; empty: it has none
	APKKey     string        // file with a private RSA key in PEM that signs APK packages and repositories; default one of the server's own
	REAPI      string        // host:port where the farm serves the Remote Execution API over gRPC; default it does not
	Remote     string        // "grpc[s]://HOST:PORT[/INSTANCE]" of a cluster that runs the builds; default they run in sandboxes of this host
	RemoteKey  string        // file with the API token for that cluster; default none is sent
	Binary     string        // this program, for git's hooks; default os.Executable
	Version    string        // of this program
	Log        LogConfig

	// Started, when set, is called once the server answers, with its URL.
	Started func(url string)
}

// LogConfig says what is logged where.
type LogConfig struct {
	Format string    // text or json; default text
	Level  string    // debug, info, warn or error; default info
	To     io.Writer // default os.Stderr
}

func (c Config) withDefaults() (Config, error) {
	if c.Data == "" {
		return c, slipway.Errorf(slipway.Invalid, "a server needs a folder").Try("give one with --data")
	}
	var err error
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return c, err
	}
	if err := os.MkdirAll(c.Data, 0o755); err != nil {
		return c, slipway.Errorf(slipway.Invalid, "make the server's folder: %w", err).At(c.Data)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8470"
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return c, slipway.Errorf(slipway.Invalid, "not an address: %w", err).At("--listen " + c.Listen).Try("write HOST:PORT")
	}
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Scheme == "" || u.Host == "" {
			return c, slipway.Errorf(slipway.Invalid, "not a URL: %q", c.URL).At("--url").Try("write http://HOST:PORT")
		}
		c.URL = strings.TrimRight(c.URL, "/")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return c, slipway.Errorf(slipway.Invalid, "a certificate needs its key").Try("give both --tls-cert and --tls-key")
	}
	if c.Database == "" {
		c.Database = "sqlite:" + filepath.Join(c.Data, "slipway.db")
	}
	if c.Binary == "" {
		if c.Binary, err = os.Executable(); err != nil {
			return c, err
		}
	}
	if c.MailFrom == "" {
		c.MailFrom = "slipway@localhost"
	}
	if c.Log.To == nil {
		c.Log.To = os.Stderr
	}
	return c, nil
}

func (c Config) dir(name string) string { return filepath.Join(c.Data, name) }

// urlOf is how a listener at this address is reached.
func urlOf(bound net.Addr, secure bool) string {
	addr := bound.(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(host, fmt.Sprint(addr.Port)))
}
