package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/transport"
	"slipway.dev/slipway/internal/slipway"
)

// DefaultServer is where 'slipway up' listens unless told otherwise.
const DefaultServer = "http://127.0.0.1:8470"

// contextFile is what 'slipway up' and 'slipway login' remember for the next command.
type contextFile struct {
	Server string `json:"server"`
	Token  string `json:"token,omitempty"`
	CA     string `json:"ca,omitempty"`   // PEM file of an authority to trust besides the system's
	Data   string `json:"data,omitempty"` // written by 'slipway up' over this folder
}

// client makes the client for what was found.
func (c contextFile) client() (*client.Client, error) {
	secure, err := transport.Client(c.CA)
	if err != nil {
		return nil, err
	}
	return client.New(c.Server, c.Token, client.WithTLS(secure)), nil
}

// contextName is the file's name in a folder of 'slipway up'.
const contextName = "context.json"

// resolve finds the server and the token.
func (a *app) resolve() (contextFile, error) {
	found := contextFile{Server: strings.TrimRight(a.server, "/"), Token: a.token, CA: a.ca}
	fill := func(c contextFile) {
		c.Server = strings.TrimRight(c.Server, "/")
		if found.Token == "" && (found.Server == "" || found.Server == c.Server) {
			found.Token = c.Token // a remembered token is for its own server only
		}
		if found.CA == "" && (found.Server == "" || found.Server == c.Server) {
			found.CA = c.CA
		}
		if found.Server == "" {
			found.Server = c.Server
		}
	}
	if found.Server == "" {
		found.Server = strings.TrimRight(a.env("SLIPWAY_SERVER"), "/")
	}
	if found.Token == "" {
		found.Token = a.env("SLIPWAY_TOKEN")
	}
	if found.CA == "" {
		found.CA = a.env("SLIPWAY_CA")
	}
	if dir := a.env("SLIPWAY_DATA"); dir != "" {
		c, err := readContext(filepath.Join(dir, contextName))
		if err != nil && !os.IsNotExist(err) {
			return found, err
		}
		fill(c)
	}
	path, err := a.configPath()
	if err != nil {
		return found, err
	}
	c, err := readContext(path)
	if err != nil && !os.IsNotExist(err) {
		return found, err
	}
	fill(c)
	if found.Server == "" {
		found.Server = DefaultServer
	}
	return found, nil
}

// absolute makes a file's name good in every folder; "" stays.
func absolute(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	return filepath.Abs(file)
}

// configPath is $XDG_CONFIG_HOME/slipway/config.json, by default below ~/.config.
func (a *app) configPath() (string, error) {
	dir := a.env("XDG_CONFIG_HOME")
	if dir == "" {
		home := a.env("HOME")
		if home == "" {
			return "", slipway.Errorf(slipway.Invalid, "neither HOME nor XDG_CONFIG_HOME is set").Try("set HOME")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "slipway", "config.json"), nil
}

func readContext(path string) (c contextFile, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, slipway.Errorf(slipway.Invalid, "the file is broken: %w", err).At(path).Try("remove it and run 'slipway login'")
	}
	if c.Token == "" && c.Data != "" {
		token, err := os.ReadFile(filepath.Join(c.Data, auth.AdminTokenFile))
		if err != nil && !os.IsNotExist(err) && !os.IsPermission(err) {
			return c, slipway.Errorf(slipway.Invalid, "read the admin token: %w", err)
		}
		c.Token = strings.TrimSpace(string(token))
	}
	return c, nil
}

// writeContext replaces the file, readable by its owner only.
func writeContext(path string, c contextFile) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+".new", append(text, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "remember the server: %w", err)
	}
	return nil
}
