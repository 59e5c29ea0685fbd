package deploy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"slipway.dev/slipway/internal/agent/resource"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// line is one fact in a journal. Exactly one field is set.
type line struct {
	Slice  *plan.Slice    `json:"slice,omitempty"`  // the version that was taken, with all resources
	Begin  *plan.Resource `json:"begin,omitempty"`  // it may be there from now on
	Status *outcome       `json:"status,omitempty"` // how it stands
	Gone   string         `json:"gone,omitempty"`   // id of what was purged
	Drift  *plan.Drift    `json:"drift,omitempty"`
	Acked  int64          `json:"acked,omitempty"` // drifts up to here are recorded by the server
}

// outcome is a status with what only the agent needs.
type outcome struct {
	plan.Status
	Stamp   string `json:"stamp,omitempty"`   // of its requirements, when it was deployed
	Changed string `json:"changed,omitempty"` // names the last apply that changed it
}

// journal is an append-only file of lines, each synced before the next thing is done.
type journal struct {
	path  string
	f     *os.File
	lines int
}

// openJournal replays the file into each. A last line that was cut off by a crash is dropped: what it told had not
// been acted upon.
func openJournal(path string, each func(line)) (*journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, slipway.Errorf(slipway.Internal, "no directory for the journal: %w", err)
	}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, slipway.Errorf(slipway.Internal, "read journal: %w", err)
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	j := &journal{path: path}
	scan := bufio.NewScanner(bytes.NewReader(whole))
	scan.Buffer(nil, len(whole)+1)
	for scan.Scan() {
		var l line
		if err := json.Unmarshal(scan.Bytes(), &l); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "line %d of the journal is broken: %w", j.lines+1, err).At(path).
				Try("remove the file; everything is then compared and deployed again")
		}
		each(l)
		j.lines++
	}
	return j, scan.Err()
}

// rewrite replaces the journal by the given lines and opens it for more.
func (j *journal) rewrite(lines []line) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	if err := resource.WriteState(j.path, buf.Bytes()); err != nil {
		return slipway.Errorf(slipway.Internal, "write journal: %w", err)
	}
	j.close()
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return slipway.Errorf(slipway.Internal, "open journal: %w", err)
	}
	j.f, j.lines = f, len(lines)
	return nil
}

// append writes one line durably.
func (j *journal) append(l line) error {
	if j.f == nil {
		return slipway.Errorf(slipway.Unavailable, "the agent is shutting down")
	}
	doc, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if _, err = j.f.Write(append(doc, '\n')); err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		return slipway.Errorf(slipway.Internal, "write journal: %w", err)
	}
	j.lines++
	return nil
}

func (j *journal) close() {
	if j.f != nil {
		j.f.Close() // every line was synced
		j.f = nil
	}
}
