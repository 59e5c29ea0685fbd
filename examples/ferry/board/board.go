// Package board writes departures the way a passenger reads them.
package board

import (
	_ "embed"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"ferry.example/timetable"
)

//go:embed version.txt
var version string

// Version is this library's version.
func Version() string { return strings.TrimSpace(version) }

// Text writes one line for each departure: when, in how many minutes, and which ferry.
func Text(list []timetable.Departure, at time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, d := range list {
		fmt.Fprintf(w, "%s\tin %d min\t%s\n", d.Leaves.Format("15:04"), int(d.Leaves.Sub(at).Round(time.Minute).Minutes()), d.Ferry)
	}
	w.Flush()
	return b.String()
}
