package cli

import (
	"cmp"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"slipway.dev/slipway/internal/server"
)

func (a *app) upCmd() *cobra.Command {
	cfg := server.Config{}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything in one process on one folder",
		Long: `Starts a server with everything embedded: SQLite, message bus, repositories,
builds, composes. All of it is kept in one folder, which is made on first use
with an admin token in it. The next commands find the server by themselves:
through the folder when SLIPWAY_DATA names it, otherwise through
~/.config/slipway/config.json, which is written if it is not there yet.`,
		Example: `  slipway up
  slipway up --data /srv/slipway --listen 127.0.0.1:9000
  slipway up --slots 8 --smtp smtp://127.0.0.1:25`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Started = func(url string) {
				a.remember(cfg.Data, url)
			}
			return a.serve(cmd, &cfg)
		},
	}
	a.serverFlags(cmd, &cfg)
	cmd.Flags().StringVar(&cfg.Data, "data", "slipway-data", "the folder that holds everything")
	return cmd
}

func (a *app) serverCmd() *cobra.Command {
	cfg := server.Config{}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a server on PostgreSQL and an external bus",
		Long: `Like 'slipway up', for a server that others use: its state is in PostgreSQL,
and agents meet it on a NATS server. Repositories and artifacts stay in its
folder. One server works on a database at a time; another is refused.`,
		Example: `  slipway server --data /srv/slipway --database postgres://slipway@db/slipway --listen 0.0.0.0:8470 --url http://slipway.lan:8470
  slipway server --data /srv/slipway --database postgres://slipway@db/slipway --bus nats://bus:4222
  slipway server --data /srv/slipway --listen 0.0.0.0:443 --url https://slipway.lan --tls-cert slipway.crt --tls-key slipway.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Database = cmp.Or(cfg.Database, a.env("SLIPWAY_DATABASE"))
			return a.serve(cmd, &cfg)
		},
	}
	a.serverFlags(cmd, &cfg)
	f := cmd.Flags()
	f.StringVar(&cfg.Data, "data", "", "folder of repositories, artifacts and composes (required)")
	f.StringVar(&cfg.Database, "database", "", "postgres://USER:PASSWORD@HOST/NAME (environment: SLIPWAY_DATABASE, where no list of processes shows the password; default: SQLite in the folder)")
	f.StringVar(&cfg.Bus, "bus", "", "nats://HOST:PORT (default: embedded)")
	if err := cmd.MarkFlagRequired("data"); err != nil {
		panic(err) // the flag was just defined
	}
	return cmd
}

func (a *app) serverFlags(cmd *cobra.Command, cfg *server.Config) {
	f := cmd.Flags()
	f.StringVar(&cfg.Listen, "listen", "127.0.0.1:8470", "HOST:PORT of HTTP; port 0 takes a free one")
	f.StringVar(&cfg.URL, "url", "", "how others reach this server (default: http://HOST:PORT)")
	f.StringVar(&cfg.TLSCert, "tls-cert", "", "PEM file of the certificate for HTTP, git and the embedded bus; it may be renewed while the server runs (default: no TLS)")
	f.StringVar(&cfg.TLSKey, "tls-key", "", "PEM file of its key")
	f.StringVar(&cfg.BusAddr, "bus-listen", "", "HOST:PORT where agents reach the embedded bus (default: a free port of loopback)")
	f.IntVar(&cfg.Slots, "slots", 0, "builds at once in the server (default: the number of processors; -1: none, workers do it all)")
	f.DurationVar(&cfg.Lease, "lease", 30*time.Second, "how long a worker may be silent before its task is given to another")
	f.DurationVar(&cfg.KeepBuilds, "keep-builds", 30*24*time.Hour, "how long outputs of builds are kept that no release, compose or deployment needs")
	f.DurationVar(&cfg.KeepLogs, "keep-logs", 30*24*time.Hour, "how long logs of builds are kept")
	f.StringVar(&cfg.REAPI, "reapi", "", "HOST:PORT where the farm serves the Remote Execution API over gRPC (default: it does not)")
	f.StringVar(&cfg.Remote, "remote-execution", "", "grpc[s]://HOST:PORT[/INSTANCE] of a cluster that runs the builds (default: sandboxes of this host)")
	f.StringVar(&cfg.RemoteKey, "remote-token-file", "", "file with the API token for that cluster")
	f.StringVar(&cfg.SMTP, "smtp", "", "smtp://[USER:PASSWORD@]HOST:PORT for notifications by mail (environment: SLIPWAY_SMTP; default: none is sent)")
	f.StringVar(&cfg.MailFrom, "mail-from", "slipway@localhost", "sender of mail")
	f.StringVar(&cfg.SignKey, "sign-key", "", "armored OpenPGP private key for packages and repositories; its passphrase is in SLIPWAY_SIGN_PASSPHRASE (default: a key of the server's own)")
	f.StringVar(&cfg.APKKey, "sign-apk-key", "", "private RSA key in PEM for APK packages and repositories (default: a key of the server's own)")
	f.StringVar(&cfg.Log.Format, "log-format", "text", "text or json")
	f.StringVar(&cfg.Log.Level, "log-level", "info", "debug, info, warn or error")
}

func (a *app) serve(cmd *cobra.Command, cfg *server.Config) error {
	cfg.Version = Version()
	cfg.SMTP = cmp.Or(cfg.SMTP, a.env("SLIPWAY_SMTP"))
	cfg.SignPass = a.env("SLIPWAY_SIGN_PASSPHRASE")
	cfg.Log.To = a.errOut
	return server.Run(cmd.Context(), *cfg)
}

// remember leaves word of the server for the commands that follow, and tells where to look.
func (a *app) remember(data, url string) {
	dir, err := filepath.Abs(data)
	ca, caErr := absolute(cmp.Or(a.ca, a.env("SLIPWAY_CA")))
	if err = cmp.Or(err, caErr); err == nil {
		err = writeContext(filepath.Join(dir, contextName), contextFile{Server: url, Data: dir, CA: ca})
	}
	if err == nil {
		var path string
		if path, err = a.configPath(); err == nil {
			if c, readErr := readContext(path); readErr != nil || c.Data != "" { // what 'slipway login' wrote is kept
				err = writeContext(path, contextFile{Server: url, Data: dir, CA: ca})
			}
		}
	}
	if err != nil {
		fmt.Fprintf(a.errOut, "slipway: the next commands will not find the server by themselves: %v\n", err)
	}
	a.say("Slipway serves %s from %s", url, dir)
	a.say("  dashboard    %s/ (log in with the token in %s)", url, filepath.Join(dir, "admin-token"))
	a.say("  API          %s/api/docs", url)
	a.say("  next         slipway whoami; slipway repo create components/hello; slipway events --follow")
}
