// Command slipway is the server, the agent and the command line of Slipway. See internal/cli.
package main

import (
	"context"
	"os"

	"slipway.dev/slipway/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
