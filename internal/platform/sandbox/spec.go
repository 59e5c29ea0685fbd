package sandbox

import (
	"io"
	"time"
)

// Mount is a folder of the host that the command sees.
type Mount struct {
	Source   string // absolute path on the host
	Target   string // absolute path inside: /build or below it, parents before children
	Writable bool   // also handed over to the sandbox's user id
}

// Limits bounds one run. A zero field takes the default. Where this process may make control groups, CPU, Memory and Processes bound all
// processes of the run together; where not, CPU and Memory bound each by itself (see [Runner.Bounds]).
type Limits struct {
	Wall        time.Duration // from start to end; default 10 min
	CPU         time.Duration // processor time; default 4 times Wall
	Memory      int64         // bytes, and with a control group what is in /tmp too; default 16 GiB
	Processes   int           // processes and threads at once; default 2048
	OutputBytes int64         // bytes in the writable mounts together, and in any one file; default 8 GiB
	TempBytes   int64         // bytes in /tmp, which is memory; default 4 GiB
	LogBytes    int64         // bytes of standard output and error together; default 32 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Wall <= 0 {
		l.Wall = 10 * time.Minute
	}
	if l.CPU <= 0 {
		l.CPU = 4 * l.Wall
	}
	if l.Memory <= 0 {
		l.Memory = 16 << 30
	}
	if l.Processes <= 0 {
		l.Processes = 2048
	}
	if l.OutputBytes <= 0 {
		l.OutputBytes = 8 << 30
	}
	if l.TempBytes <= 0 {
		l.TempBytes = 4 << 30
	}
	if l.LogBytes <= 0 {
		l.LogBytes = 32 << 20
	}
	return l
}

// Spec is one command and all that it may see.
type Spec struct {
	Root   string // absolute path of a folder on the host that is shown read-only as / (its usr, bin, lib, etc ...); empty: the host's tools
	Mounts []Mount
	Dir    string            // working directory inside
	Env    map[string]string // the whole environment
	Argv   []string
	Limits Limits
	// Unconfined runs the command without a sandbox, as this process's user: it sees the whole host and its network. Its environment is cleared, its
	// limits are those of each process, and its mounts are links in a folder of its own whose path stands for /build. A Root is refused.
	Unconfined bool
	Log        io.Writer // gets standard output and error as they come; nil drops them
}

// Status is how a run ended.
type Status string

// The ways to end.
const (
	Exited         Status = "exited"           // by itself, see Exit.Code
	TimedOut       Status = "timed out"        // stopped after Limits.Wall
	Cancelled      Status = "cancelled"        // the caller's context ended
	LogTooLarge    Status = "log too large"    // stopped at Limits.LogBytes
	OutputTooLarge Status = "output too large" // stopped at Limits.OutputBytes
)

// Exit is the end of a run.
type Exit struct {
	Status Status
	Code   int    // with Exited: the exit code, 128+N for a process killed by signal N
	Limit  string // with Exited and a Code: the limit that it ran into, if that is known: "memory", "processes", "processor time"
	Wall   time.Duration
}
