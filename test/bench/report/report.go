// Package report writes what a benchmark found as a page of Markdown, with the command, the machine and the time it was run at.
package report

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Page is one page.
type Page struct {
	w io.Writer
}

// New begins a page: what was measured, the command that does it again, and where and when it was run. The average load before the start says whether the
// machine was quiet.
func New(ctx context.Context, w io.Writer, title, command string, programs ...[]string) *Page {
	p := &Page{w}
	p.Text("# %s", title)
	p.Text("Written by `%s`.", command)
	rows := [][]string{
		{"when", time.Now().UTC().Format("2 January 2006, 15:04 UTC")},
		{"processor", fmt.Sprintf("%s, %d used", field("/proc/cpuinfo", "model name"), runtime.GOMAXPROCS(0))},
		{"memory", field("/proc/meminfo", "MemTotal")},
		{"system", strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`) + ", " + said(ctx, "uname", "-sr")},
		{"load before", load()},
		{"Go", runtime.Version()},
	}
	for _, argv := range programs {
		rows = append(rows, []string{argv[0], said(ctx, argv...)})
	}
	p.Table([]string{"", ""}, rows)
	return p
}

// Text writes a paragraph.
func (p *Page) Text(format string, args ...any) { fmt.Fprintf(p.w, format+"\n\n", args...) }

// Table writes a table.
func (p *Page) Table(head []string, rows [][]string) {
	line := func(cells []string) {
		escaped := make([]string, len(cells))
		for i, c := range cells {
			escaped[i] = strings.ReplaceAll(c, "|", `\|`)
		}
		fmt.Fprintf(p.w, "| %s |\n", strings.Join(escaped, " | "))
	}
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, r := range rows {
		line(r)
	}
	fmt.Fprintln(p.w)
}

// said returns the first line that a program prints.
func said(ctx context.Context, argv ...string) string {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).Output()
	if err != nil {
		return "not here: " + err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}

// field reads a "name : value" or "name=value" line of a file.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			if rest = strings.TrimSpace(rest); rest != "" && (rest[0] == ':' || rest[0] == '=') {
				return strings.TrimSpace(rest[1:])
			}
		}
	}
	return "unknown"
}

func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	parts := strings.Fields(string(text))
	note := ""
	if one, err := strconv.ParseFloat(parts[0], 64); err == nil && one > 0.7 {
		note = " (others worked too: these times are pessimistic)"
	}
	return strings.Join(parts[:2], " and ") + " over 1 and 5 minutes" + note
}

// Sample is how long something took, several times.
type Sample []time.Duration

// Time runs f n times.
func Time(n int, f func() error) (Sample, error) {
	var s Sample
	for range n {
		start := time.Now()
		if err := f(); err != nil {
			return nil, err
		}
		s = append(s, time.Since(start))
	}
	return s, nil
}

// Median is the middle one.
func (s Sample) Median() time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

// String writes the median, and the shortest and longest where there are several: "1.2 ms (1.1-1.9)".
func (s Sample) String() string {
	if len(s) == 1 {
		return Short(s[0])
	}
	return fmt.Sprintf("%s (%s to %s)", Short(s.Median()), Short(slices.Min(s)), Short(slices.Max(s)))
}

// Short writes a duration with three digits.
func Short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	case d >= 100*time.Millisecond:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d >= time.Millisecond:
		return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.0f µs", d.Seconds()*1e6)
}

// Run runs a program and returns what it printed and how long it took; its error holds the end of what it said on standard error.
func Run(ctx context.Context, argv ...string) (out []byte, took time.Duration, err error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err = cmd.Run()
	took = time.Since(start)
	if err != nil {
		said := stderr.String()
		err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, said[max(0, len(said)-500):])
	}
	return stdout.Bytes(), took, err
}
