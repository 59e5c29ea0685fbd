package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/goccy/go-yaml"

	"slipway.dev/slipway/internal/slipway"
)

// table is what a command shows to people: a head and rows of cells. A cell in the column "state" or "outcome" is coloured by
// what it says.
type table struct {
	head  []string
	rows  [][]string
	empty string // what to say when there are no rows
}

// newTable makes a table with these columns.
func newTable(head ...string) *table { return &table{head: head, empty: "none"} }

// add appends a row; a cell is printed as fmt.Sprint does, a time as its age.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case time.Time:
			row[i] = age(c)
		case string:
			row[i] = c
		default:
			row[i] = fmt.Sprint(c)
		}
		row[i] = strings.ReplaceAll(row[i], "\n", " ")
	}
	t.rows = append(t.rows, row)
}

// print shows v as -o asks: as JSON, as YAML, or as the table that show makes.
func (a *app) print(v any, show func() *table) error {
	switch a.format {
	case "table":
		return a.writeTable(show())
	case "yaml":
		return writeYAML(a.out, v)
	}
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// checkFormat makes sure that -o is one of table, json and yaml; no other reaches a command.
func (a *app) checkFormat() error {
	switch a.format {
	case "table", "json", "yaml":
		return nil
	}
	return slipway.Errorf(slipway.Invalid, "unknown output %q", a.format).At("--output").Try("use table, json or yaml")
}

// fields makes a table of two columns without a head: one thing, field by field. Empty values are left out.
func fields(pairs ...any) *table {
	t := &table{}
	for i := 0; i+1 < len(pairs); i += 2 {
		switch v := pairs[i+1].(type) {
		case time.Time:
			if !v.IsZero() {
				t.add(pairs[i], v.Local().Format(time.DateTime)+" ("+age(v)+" ago)")
			}
		default:
			if s := fmt.Sprint(v); s != "" {
				t.add(pairs[i], s)
			}
		}
	}
	return t
}

// say prints a line for people; nothing when the output is for programs.
func (a *app) say(format string, args ...any) {
	if a.format == "table" {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

func writeYAML(w io.Writer, v any) error {
	text, err := json.Marshal(v) // the JSON names are the names, in their order
	if err == nil {
		text, err = yaml.JSONToYAML(text)
	}
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

func (a *app) writeTable(t *table) error {
	if len(t.rows) == 0 {
		if t.empty != "" {
			fmt.Fprintln(a.errOut, t.empty)
		}
		return nil
	}
	widths := make([]int, 0, 8)
	measure := func(row []string) {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	measure(t.head)
	for _, row := range t.rows {
		measure(row)
	}
	w := colorprofile.NewWriter(a.out, os.Environ()) // without colour where the output is no terminal
	var b strings.Builder
	if len(t.head) > 0 {
		head := make([]string, len(t.head))
		for i, h := range t.head {
			head[i] = strings.ToUpper(h)
		}
		line(&b, head, widths, func(int) lipgloss.Style { return lipgloss.NewStyle().Faint(true) })
	}
	for _, row := range t.rows {
		line(&b, row, widths, func(i int) lipgloss.Style { return t.style(i, row[i]) })
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func line(b *strings.Builder, cells []string, widths []int, style func(int) lipgloss.Style) {
	for i, cell := range cells {
		b.WriteString(style(i).Render(cell))
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(cell)+2))
		}
	}
	b.WriteString("\n")
}

func (t *table) style(column int, cell string) lipgloss.Style {
	s := lipgloss.NewStyle()
	if len(t.head) == 0 {
		if column == 0 {
			s = s.Faint(true)
		}
		return s
	}
	switch t.head[column] {
	case "state", "outcome", "status":
		return s.Foreground(stateColour(cell))
	}
	return s
}

// stateColour groups the words of all stages: good, under way, bad.
func stateColour(state string) lipgloss.ANSIColor {
	switch state {
	case "ok", "loaded", "pass", "passed", "landed", "built", "ready", "online", "deployed", "released", "finished", "applied", "done":
		return lipgloss.ANSIColor(2) // green
	case "fail", "failed", "rejected", "dead", "offline", "broken", "missing", "timeout":
		return lipgloss.ANSIColor(1) // red
	case "infra", "cancelled", "skipped", "backing-off", "drifted", "abandoned", "waived":
		return lipgloss.ANSIColor(3) // yellow
	case "running", "testing", "building", "queued", "waiting", "leased":
		return lipgloss.ANSIColor(4) // blue
	}
	return lipgloss.ANSIColor(7)
}

// age tells how long ago t was in one unit: "12s", "5m", "3h", "9d"; "-" for the zero time.
func age(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	sign, d := "", time.Since(t)
	if d < 0 {
		sign, d = "in ", -d
	}
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%s%ds", sign, int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%s%dm", sign, int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%s%dh", sign, int(d.Hours()))
	}
	return fmt.Sprintf("%s%dd", sign, int(d.Hours()/24))
}
