package lab

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Config tunes the lab. Zero values take the defaults.
type Config struct {
	OfflineAfter   time.Duration // a node not heard for this long is offline; default 10s
	LeaseTTL       time.Duration // a lease not renewed for this long ends; default 1m
	QueueTimeout   time.Duration // how long an experiment may wait for nodes; default 1h
	ReserveTimeout time.Duration // how long nodes may take to fetch artifacts; default 5m
	Grace          time.Duration // how much longer than an experiment's timeout the server waits for its nodes; default 30s
	CleanTimeout   time.Duration // how long cleaning up may take; default 5m
	Retries        int           // how often an attempt that the platform failed is tried again; default 2, negative: never
	TokenLife      time.Duration // how long a join token is good for; default 24h
	Clock          clock.Clock   // default the system's
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.OfflineAfter, 10 * time.Second}, {&c.LeaseTTL, time.Minute}, {&c.QueueTimeout, time.Hour},
		{&c.ReserveTimeout, 5 * time.Minute}, {&c.Grace, 30 * time.Second}, {&c.CleanTimeout, 5 * time.Minute},
		{&c.TokenLife, 24 * time.Hour},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Retries == 0 {
		c.Retries = 2
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	return c
}

// Parser reads an experiment's file; name is the file's in errors. It is [spec.ParseExperiment].
type Parser func(text []byte, name string) (spec.Experiment, error)

// Poker tells a node's agent that a sync would bring something new. It may fail silently: agents sync anyway.
type Poker interface {
	Poke(node string)
}

// Service is the lab. It is safe for concurrent use, and several may share a database.
type Service struct {
	store     slipway.Store[Tx]
	parse     Parser
	poker     Poker
	cfg       Config
	listening atomic.Int64 // µs
}

// New makes the lab. It counts as listening from now on.
func New(store slipway.Store[Tx], parse Parser, poker Poker, cfg Config) *Service {
	s := &Service{store: store, parse: parse, poker: poker, cfg: cfg.withDefaults()}
	s.Listening()
	return s
}

// Listening says that agents can be heard from now on. Leases and node timeouts count from here, so that
// the server's own absence is not taken for theirs.
func (s *Service) Listening() { s.listening.Store(s.cfg.Clock.Now().UnixMicro()) }

func (s *Service) since() time.Time { return time.UnixMicro(s.listening.Load()).UTC() }

// Run asks for an experiment. The same ID again returns what has become of the first.
//
// Errors: Invalid when the text is not an experiment, or a role wants an artifact that the request does not bring.
func (s *Service) Run(ctx context.Context, r slipway.ExperimentRequest) (slipway.ExperimentStatus, error) {
	return s.run(ctx, r, "")
}

// RunAs is Run for a person, who becomes the creator. Forbidden for an id that the integration queue could choose: a person's
// experiment must not become a candidate's verdict.
func (s *Service) RunAs(ctx context.Context, r slipway.ExperimentRequest, actor string) (slipway.ExperimentStatus, error) {
	if strings.HasPrefix(r.ID, slipway.QueueExperiments) {
		return slipway.ExperimentStatus{}, slipway.Errorf(slipway.Forbidden, "ids that begin with %s are the integration queue's", slipway.QueueExperiments).
			At("id " + r.ID).Try("choose another id")
	}
	return s.run(ctx, r, actor)
}

func (s *Service) run(ctx context.Context, r slipway.ExperimentRequest, actor string) (slipway.ExperimentStatus, error) {
	if r.ID == "" {
		return slipway.ExperimentStatus{}, slipway.Errorf(slipway.Invalid, "an experiment needs an id")
	}
	if e, err := s.byID(ctx, r.ID); !slipway.Is(err, slipway.NotFound) {
		return e.Status(), err
	}
	parsed, err := s.parse([]byte(r.Text), r.File)
	if err != nil {
		return slipway.ExperimentStatus{}, err
	}
	if err := check(parsed); err != nil {
		return slipway.ExperimentStatus{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(parsed.Roles)) {
		for _, a := range parsed.Roles[name].Artifacts {
			if r.Artifacts[a] == "" {
				return slipway.ExperimentStatus{}, slipway.Errorf(slipway.Invalid, "role %s wants the artifact of %q, which the request does not bring", name, a).
					At(r.File).Try("is the component part of the configuration?")
			}
		}
	}
	var e Experiment
	err = s.store.Update(ctx, func(tx Tx) error {
		var err error
		if e, err = tx.Experiments().Get(ctx, r.ID); !slipway.Is(err, slipway.NotFound) {
			return err
		}
		number, err := tx.Next(ctx, "experiment")
		if err != nil {
			return err
		}
		e = Experiment{Request: r, Number: number, Spec: parsed, State: Queued, Reason: "waits for the next look at the nodes", Avoid: r.Avoid,
			Creator: actor, Created: tx.Now(), Since: tx.Now()}
		if err := tx.Experiments().Put(ctx, e); err != nil {
			return err
		}
		if err := tx.Emit(ctx, e.event(slipway.ExperimentQueued, actor)); err != nil {
			return err
		}
		if err := tx.Wake(ctx, kindExperiment, r.ID, tx.Now().Add(s.cfg.QueueTimeout)); err != nil {
			return err
		}
		return tx.Wake(ctx, kindSchedule, scheduleKey, time.Time{})
	})
	return e.Status(), err
}

func (s *Service) byID(ctx context.Context, id string) (e Experiment, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		e, err = tx.Experiments().Get(ctx, id)
		return err
	})
	return e, err
}

func (e Experiment) event(t slipway.EventType, actor string) slipway.Event {
	ev := slipway.Event{Type: t, Subject: e.Ref(), Product: e.Request.Product, Actor: actor, Reason: e.Reason}
	if e.Request.For != "" {
		ev.Links = append(ev.Links, e.Request.For)
	}
	for _, m := range e.Members {
		ev.Links = append(ev.Links, slipway.Ref("node", m.Node))
	}
	if t == slipway.ExperimentFinished {
		ev.Data = e.finished()
	}
	return ev
}

// Experiment returns the status of an experiment.
func (s *Service) Experiment(ctx context.Context, id string) (slipway.ExperimentStatus, error) {
	e, err := s.Get(ctx, id)
	return e.Status(), err
}

// Get returns an experiment by its id, its number ("4") or its subject ("experiment/4").
func (s *Service) Get(ctx context.Context, id string) (e Experiment, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		e, err = find(ctx, tx, id)
		return err
	})
	return e, err
}

func find(ctx context.Context, tx Tx, id string) (Experiment, error) {
	number := strings.TrimPrefix(id, "experiment/")
	if _, err := strconv.ParseInt(number, 10, 64); err == nil {
		found, err := tx.Experiments().Find(ctx, slipway.Query{Key: number, Limit: 1})
		if err != nil || len(found) > 0 {
			return append(found, Experiment{})[0], err
		}
	}
	return tx.Experiments().Get(ctx, id)
}

// List returns experiments, newest first. Product and states may be empty; after is the id after which to go on.
func (s *Service) List(ctx context.Context, product string, states []string, after string, limit int) (out []Experiment, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		out, err = tx.Experiments().Find(ctx, slipway.Query{Product: product, States: states, After: after, Limit: limit, Newest: true})
		return err
	})
	return out, err
}

// Cancel ends an experiment: its nodes stop and clean up. One that is done stays as it is.
func (s *Service) Cancel(ctx context.Context, id, reason string) error {
	var pokes []string
	err := s.store.Update(ctx, func(tx Tx) error {
		e, err := find(ctx, tx, id)
		if err != nil || e.State == Done || e.Cancel != "" {
			return err
		}
		if e.Cancel = reason; reason == "" {
			e.Cancel = "cancelled"
		}
		pokes, err = s.advance(ctx, tx, e)
		return err
	})
	s.poke(pokes)
	return err
}

// Log returns a piece of the log of one step on one node, in the last attempt, from offset, and whether more may come.
func (s *Service) Log(ctx context.Context, id, node, step string, offset int64) (data []byte, more bool, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		e, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(e.Members, func(m Member) bool { return m.Node == node })
		if i < 0 {
			if e.State == Queued {
				more = true
				return nil
			}
			return slipway.Errorf(slipway.NotFound, "%s does not run on node %q", e.Ref(), node)
		}
		m := e.Members[i]
		more = m.State != MemberClean && m.State != MemberLost && e.State != Done
		chunks, err := tx.ExperimentLogs().Find(ctx, slipway.Query{Key: LogKey(m.Assignment, step)})
		if err != nil {
			return err
		}
		data = nil
		for _, c := range chunks {
			if from := max(offset-c.Offset, 0); from < int64(len(c.Data)) {
				data = append(data, c.Data[from:]...)
			}
		}
		return nil
	})
	return data, more, err
}

// Nodes returns all nodes that have joined, by name.
func (s *Service) Nodes(ctx context.Context) ([]slipway.Node, error) {
	nodes, err := s.NodeList(ctx)
	out := make([]slipway.Node, len(nodes))
	for i, n := range nodes {
		out[i] = n.Noun()
	}
	return out, err
}

// NodeList is Nodes with all that the lab knows.
func (s *Service) NodeList(ctx context.Context) (out []Node, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		if out, err = tx.Nodes().Find(ctx, slipway.Query{}); err != nil {
			return err
		}
		for i := range out {
			if out[i].Lease, err = holder(ctx, tx, out[i].Name); err != nil {
				return err
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// Node returns one node.
func (s *Service) Node(ctx context.Context, name string) (n Node, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		if n, err = tx.Nodes().Get(ctx, name); err != nil {
			return err
		}
		n.Lease, err = holder(ctx, tx, name)
		return err
	})
	return n, err
}

func holder(ctx context.Context, tx Tx, node string) (string, error) {
	l, err := tx.Leases().Get(ctx, node)
	if slipway.Is(err, slipway.NotFound) || err == nil && l.Experiment == "" {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	e, err := tx.Experiments().Get(ctx, l.Experiment)
	return e.Ref(), err
}

// NodeByKey finds the node whose agent holds a public key.
func (s *Service) NodeByKey(ctx context.Context, publicKey string) (name string, ok bool, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		found, err := tx.Nodes().Find(ctx, slipway.Query{Key: publicKey, Limit: 1})
		if err == nil && len(found) > 0 {
			name, ok = found[0].Name, true
		}
		return err
	})
	return name, ok, err
}

// CreateJoinToken makes a token with which one node can join once. Name and labels may be empty; a node gets the labels
// whatever it says of itself. Life of zero is the default.
func (s *Service) CreateJoinToken(ctx context.Context, actor, name string, labels map[string]string, life time.Duration) (token string, expires time.Time, err error) {
	if life <= 0 {
		life = s.cfg.TokenLife
	}
	if name != "" && !validNode(name) {
		return "", time.Time{}, badName(name)
	}
	var raw [24]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", time.Time{}, fmt.Errorf("make a join token: %w", err)
	}
	token = "slipway-join-" + base64.RawURLEncoding.EncodeToString(raw[:])
	err = s.store.Update(ctx, func(tx Tx) error {
		expires = tx.Now().Add(life)
		return tx.JoinTokens().Put(ctx, JoinToken{Hash: hash(token), Name: name, Labels: labels, Creator: actor, Created: tx.Now(), Expires: expires})
	})
	return token, expires, err
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// JoinRequest is what a node says of itself when it joins.
type JoinRequest struct {
	Token     string            `json:"token"`
	Name      string            `json:"name"`
	PublicKey string            `json:"publicKey"`
	Labels    map[string]string `json:"labels,omitempty"`
	Facts     map[string]string `json:"facts,omitempty"`
}

// Join makes a node. The same request again is answered like the first, because the first answer may have been lost.
//
// Errors: Unauthenticated for a token that is unknown, used or expired; Forbidden when it is for another name;
// Conflict when the name or the key is taken; Invalid for a bad name.
func (s *Service) Join(ctx context.Context, r JoinRequest) (Node, error) {
	if !validNode(r.Name) {
		return Node{}, badName(r.Name)
	}
	var n Node
	err := s.store.Update(ctx, func(tx Tx) error {
		n = Node{}
		token, err := tx.JoinTokens().Get(ctx, hash(r.Token))
		if slipway.Is(err, slipway.NotFound) {
			return slipway.Errorf(slipway.Unauthenticated, "no such join token").Try("make one with: slipway node join-token")
		}
		if err != nil {
			return err
		}
		old, err := tx.Nodes().Get(ctx, r.Name)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return err
		}
		taken := err == nil
		switch {
		case token.UsedBy == r.Name && taken && old.PublicKey == r.PublicKey:
			n = old
			return nil
		case token.UsedBy != "":
			return slipway.Errorf(slipway.Unauthenticated, "the join token was used by node %s", token.UsedBy).Try("make another with: slipway node join-token")
		case !tx.Now().Before(token.Expires):
			return slipway.Errorf(slipway.Unauthenticated, "the join token expired at %s", token.Expires.Format(time.RFC3339)).Try("make another with: slipway node join-token")
		case token.Name != "" && token.Name != r.Name:
			return slipway.Errorf(slipway.Forbidden, "the join token is for node %s, not %s", token.Name, r.Name)
		case taken:
			return slipway.Errorf(slipway.Conflict, "there is a node %s already", r.Name).Try("choose another name, or: slipway node remove " + r.Name)
		}
		same, err := tx.Nodes().Find(ctx, slipway.Query{Key: r.PublicKey, Limit: 1})
		if err != nil {
			return err
		}
		if len(same) > 0 {
			return slipway.Errorf(slipway.Conflict, "node %s has this key", same[0].Name).Try("give each agent a root folder of its own")
		}
		n = Node{Name: r.Name, PublicKey: r.PublicKey, Fixed: token.Labels, Labels: merged(r.Labels, token.Labels), Facts: merged(r.Facts),
			State: NodeOffline, Reason: "has joined but was not heard yet", JoinedAt: tx.Now()}
		token.UsedBy = r.Name
		if err := tx.JoinTokens().Put(ctx, token); err != nil {
			return err
		}
		if err := tx.Nodes().Put(ctx, n); err != nil {
			return err
		}
		return tx.Emit(ctx, slipway.Event{Type: slipway.NodeJoined, Subject: slipway.Ref("node", r.Name), Actor: "node/" + r.Name, Reason: "invited by " + token.Creator})
	})
	return n, err
}

// Remove forgets a node. Its key is refused from now on; an experiment on it counts it as lost. It returns the key, whose
// connections the caller ends.
func (s *Service) Remove(ctx context.Context, name, actor string) (publicKey string, err error) {
	err = s.store.Update(ctx, func(tx Tx) error {
		n, err := tx.Nodes().Get(ctx, name)
		if err != nil {
			return err
		}
		publicKey = n.PublicKey
		if err := tx.Nodes().Delete(ctx, name); err != nil {
			return err
		}
		if l, err := tx.Leases().Get(ctx, name); err == nil && l.Experiment != "" {
			experiment := l.Experiment
			l.Experiment, l.Assignment = "", ""
			l.Epoch++
			if err := tx.Leases().Put(ctx, l); err != nil {
				return err
			}
			if err := tx.Wake(ctx, kindExperiment, experiment, time.Time{}); err != nil {
				return err
			}
		} else if err != nil && !slipway.Is(err, slipway.NotFound) {
			return err
		}
		return tx.Emit(ctx, slipway.Event{Type: slipway.NodeOffline, Subject: slipway.Ref("node", name), Actor: actor, Reason: "removed; its key is refused"})
	})
	return publicKey, err
}

// Drain keeps a node out of new experiments, with a reason; an empty reason puts it back.
func (s *Service) Drain(ctx context.Context, name, reason string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		n, err := tx.Nodes().Get(ctx, name)
		if err != nil {
			return err
		}
		if n.Drained = reason; reason == "" {
			n.Suspect = ""
		}
		if err := tx.Nodes().Put(ctx, n); err != nil {
			return err
		}
		return tx.Wake(ctx, kindSchedule, scheduleKey, time.Time{})
	})
}

func merged(maps_ ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range maps_ {
		maps.Copy(out, m)
	}
	return out
}

func validNode(name string) bool {
	return len(name) <= 63 && name != "" && name[0] != '-' && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func badName(name string) error {
	return slipway.Errorf(slipway.Invalid, "%q cannot be a node's name", name).Try("use at most 63 lower-case letters, digits and dashes")
}
