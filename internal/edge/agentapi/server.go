package agentapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab"
)

// Nodes knows the nodes; it is the lab.
type Nodes interface {
	Join(ctx context.Context, r lab.JoinRequest) (lab.Node, error)
	NodeByKey(ctx context.Context, publicKey string) (name string, ok bool, err error)
	Heard(ctx context.Context, name string, labels, facts map[string]string) error
}

// SyncHandler takes one module's report of a node and answers with what the module there shall do.
type SyncHandler func(ctx context.Context, node string, report json.RawMessage) (json.RawMessage, error)

// Config tunes a Server.
type Config struct {
	BusURL      string        // where agents find the bus; a wildcard host is replaced by the host at which the agent found this server
	Parallel    int           // how many syncs at once; default 16
	SyncTimeout time.Duration // of one; default 10s, as long as agents wait
	Clock       clock.Clock   // default the system's
	Log         *slog.Logger  // default slog.Default()
}

// Server answers agents.
type Server struct {
	nodes   Nodes
	blobs   artifact.Opener
	modules map[string]SyncHandler
	cfg     Config
}

// New makes a server. Modules are named by the agents' module names; the map must not change afterwards.
func New(nodes Nodes, blobs artifact.Opener, modules map[string]SyncHandler, cfg Config) *Server {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 16
	}
	if cfg.SyncTimeout <= 0 {
		cfg.SyncTimeout = 10 * time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Server{nodes: nodes, blobs: blobs, modules: modules, cfg: cfg}
}

const queueGroup = "slipway-servers"

// Serve answers syncs on conn until ctx ends, then finishes those under way.
func (s *Server) Serve(ctx context.Context, conn *nats.Conn) error {
	msgs := make(chan *nats.Msg, 1024)
	sub, err := conn.ChanQueueSubscribe(bus.SyncSubject("*"), queueGroup, msgs)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "listen to agents: %w", err)
	}
	var wg sync.WaitGroup
	for range s.cfg.Parallel {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case m := <-msgs:
					s.answer(context.WithoutCancel(ctx), m, int(conn.MaxPayload()))
				}
			}
		})
	}
	<-ctx.Done()
	err = sub.Unsubscribe()
	wg.Wait()
	if err != nil && !conn.IsClosed() {
		return slipway.Errorf(slipway.Unavailable, "stop listening to agents: %w", err)
	}
	return nil
}

// answer handles one request; a message of the bus holds at most limit bytes. It says nothing to somebody who is not who the
// subject says.
func (s *Server) answer(ctx context.Context, m *nats.Msg, limit int) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.SyncTimeout)
	defer cancel()
	node, ok := bus.NodeOf(m.Subject)
	if !ok || !bus.OwnsInbox(node, m.Reply) {
		s.cfg.Log.Warn("sync refused: its answer would not go to its node", "subject", m.Subject, "reply", m.Reply)
		return
	}
	key := m.Header.Get(bus.KeyHeader)
	if !bus.VerifyMessage(key, m.Header.Get(bus.SignatureHeader), m.Subject, m.Data) {
		s.cfg.Log.Warn("sync refused: it is not signed by its sender", "node", node)
		return
	}
	reply := bus.SyncReply{Time: s.cfg.Clock.Now()}
	owner, known, err := s.nodes.NodeByKey(ctx, key)
	switch {
	case err != nil:
		reply.Fault = fault(err)
	case !known || owner != node:
		s.cfg.Log.Warn("sync refused: the key is not the node's", "node", node, "key", key)
		reply.Fault = fault(slipway.Errorf(slipway.Forbidden, "this key is not that of node %s", node).Try("was the node removed? Join again with a new token"))
	default:
		s.sync(ctx, node, m.Data, limit-envelope, &reply)
	}
	body, err := json.Marshal(reply)
	if err != nil {
		s.cfg.Log.Error("sync answer cannot be written", "node", node, "error", err)
		return
	}
	if err := m.Respond(body); err != nil {
		s.cfg.Log.Warn("sync answer was not sent", "node", node, "error", err)
	}
}

// envelope is room in an answer for all but the modules' parts.
const envelope = 64 << 10

// sync lets each module answer. One whose answer no longer fits into a message says so, and the others are heard.
func (s *Server) sync(ctx context.Context, node string, data []byte, room int, reply *bus.SyncReply) {
	var req bus.SyncRequest
	if err := json.Unmarshal(data, &req); err != nil {
		reply.Fault = fault(slipway.Errorf(slipway.Invalid, "the sync request cannot be read: %w", err))
		return
	}
	if err := s.nodes.Heard(ctx, node, req.Labels, req.Facts); err != nil {
		reply.Fault = fault(err)
		return
	}
	reply.Modules, reply.Faults = map[string]json.RawMessage{}, map[string]bus.Fault{}
	for _, name := range slices.Sorted(maps.Keys(req.Modules)) {
		report := req.Modules[name]
		handle, ok := s.modules[name]
		if !ok {
			reply.Faults[name] = bus.FaultOf(slipway.Errorf(slipway.NotFound, "this server has no module %q", name))
			continue
		}
		answer, err := handle(ctx, node, report)
		if err == nil && len(answer) > room {
			err = slipway.Errorf(slipway.TooLarge, "the orders of module %s have %d bytes, more than the %d that are left in a message of the bus", name, len(answer), room).
				Try("deploy fewer or smaller files to the node; large ones belong into an artifact")
		}
		if err != nil {
			s.cfg.Log.Warn("sync of a module failed", "node", node, "module", name, "error", err)
			reply.Faults[name] = bus.FaultOf(err)
			continue
		}
		room -= len(answer)
		reply.Modules[name] = answer
	}
}

func fault(err error) *bus.Fault {
	f := bus.FaultOf(err)
	return &f
}
