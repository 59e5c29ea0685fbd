package main

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"slipway.dev/slipway/internal/stage/build/farm"
	"slipway.dev/slipway/test/bench/report"
)

// span is a part of what happens to an action, from one stamp to the next.
type span struct {
	what string
	took []time.Duration
}

// timeline reads out of the server's database where the time of its tasks went, and how long slots were theirs: from the claim to the end of
// the command.
func (b *bench) timeline() (table [][]string, busy time.Duration, err error) {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.s.data, "slipway.db")+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, 0, err
	}
	defer db.Close()
	rows, err := db.Query(`SELECT doc FROM tasks WHERE state = 'done' ORDER BY ord`)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	spans := []span{
		{what: "waits in the queue"}, {what: "claimed, until the worker begins"}, {what: "inputs are laid out"}, {what: "the sandbox is begun"},
		{what: "the sandbox, from its start to its end"}, {what: "outputs are stored"}, {what: "until the end is recorded"},
	}
	var claims, free []time.Time
	for rows.Next() {
		var doc string
		var t farm.Task
		if err := rows.Scan(&doc); err != nil {
			return nil, 0, err
		}
		if err := json.Unmarshal([]byte(doc), &t); err != nil {
			return nil, 0, err
		}
		if t.Result == nil || t.Claimed.IsZero() {
			continue
		}
		r := &repb.ActionResult{}
		if err := proto.Unmarshal(t.Result.Action, r); err != nil {
			return nil, 0, err
		}
		m := r.ExecutionMetadata
		at := []time.Time{t.Queued, t.Claimed}
		for _, s := range []*timestamppb.Timestamp{m.WorkerStartTimestamp, m.InputFetchCompletedTimestamp, m.ExecutionStartTimestamp, m.ExecutionCompletedTimestamp, m.OutputUploadCompletedTimestamp} {
			at = append(at, s.AsTime())
		}
		at = append(at, t.Finished)
		for i := range spans {
			spans[i].took = append(spans[i].took, at[i+1].Sub(at[i]))
		}
		claims, free = append(claims, t.Claimed), append(free, m.ExecutionCompletedTimestamp.AsTime())
		busy += free[len(free)-1].Sub(t.Claimed)
	}
	if err := rows.Err(); err != nil {
		return nil, 0, err
	}
	spans = append(spans, span{what: "from the end of a command to the next claim of its slot", took: gaps(claims, free, b.slots)})
	for _, s := range spans {
		if len(s.took) == 0 {
			continue
		}
		slices.Sort(s.took)
		sum := time.Duration(0)
		for _, d := range s.took {
			sum += d
		}
		table = append(table, []string{s.what, report.Short(s.took[len(s.took)/2]), report.Short(sum / time.Duration(len(s.took)))})
	}
	for _, row := range table {
		say("%s", strings.Join(row, " | "))
	}
	return table, busy, nil
}

// gaps pairs the ends with the claims that followed: while all slots are in use, the nth end frees the slot of claim n+slots.
func gaps(claims, ends []time.Time, slots int) []time.Duration {
	slices.SortFunc(claims, time.Time.Compare)
	slices.SortFunc(ends, time.Time.Compare)
	var all []time.Duration
	for i := slots; i < len(claims); i++ {
		all = append(all, claims[i].Sub(ends[i-slots]))
	}
	return all
}
