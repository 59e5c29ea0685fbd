// Command gostd imports what the ferry's programs import, so that building it compiles their share of the standard
// library.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sort"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	words := strings.Fields("what is used somewhere")
	sort.Strings(words)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, words, time.Now(), http.StatusOK, exec.CommandContext(ctx, "true"))
	json.NewEncoder(w).Encode(words)
	w.Flush()
}
