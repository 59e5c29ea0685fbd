package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// Releases knows what was released.
type Releases interface {
	// Latest returns a product's newest release, or an error of kind NotFound.
	Latest(ctx context.Context, product string) (slipway.Release, error)
	Release(ctx context.Context, id string) (slipway.Release, error)
}

// Composes knows the distributions made from releases.
type Composes interface {
	// ComposeOf returns the compose of a release, or an error of kind NotFound before it has begun.
	ComposeOf(ctx context.Context, release string) (ComposeStatus, error)
}

// ComposeStatus is a compose as models need it.
type ComposeStatus struct {
	ID     string
	State  string // "finished", "failed"; everything else is on its way
	Reason string
	URL    string // without a slash at the end
	Key    string // armored public key that it is signed with
}

// Files reads repositories.
type Files interface {
	// File returns a file at a commit, or an error of kind NotFound.
	File(ctx context.Context, repo, rev, path string) ([]byte, error)
}

// Nodes knows the machines.
type Nodes interface {
	Nodes(ctx context.Context) ([]slipway.Node, error)
}

// Agents reaches the nodes' agents.
type Agents interface {
	// Poke makes a node's agent sync soon. It may get lost.
	Poke(node string)
}

// Deps is what the stage needs of others.
type Deps struct {
	Releases Releases
	Composes Composes
	Files    Files
	Nodes    Nodes
	Agents   Agents
}

// Service compiles models, releases versions and follows them.
type Service struct {
	store slipway.Store[Tx]
	deps  Deps
}

// New makes the service.
func New(st slipway.Store[Tx], deps Deps) *Service { return &Service{st, deps} }

// The kinds of jobs.
const (
	kindCompile = "deploy.compile"
	kindRoll    = "deploy.roll"
	kindNode    = "deploy.node"
)

// Handlers returns the stage's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{
		{Kind: kindCompile, Slots: 2, Do: s.compile},
		{Kind: kindRoll, Slots: 2, Do: s.roll},
		{Kind: kindNode, Slots: 4, Do: s.node},
	}
}

// Routes says which events wake them.
func Routes() []jobs.Route {
	return []jobs.Route{
		{On: slipway.ReleaseCreated, Kind: kindCompile, Key: jobs.Product},
		{On: slipway.ComposeFinished, Kind: kindCompile, Key: jobs.Product},
		{On: slipway.ComposeFailed, Kind: kindCompile, Key: jobs.Product},
		{On: slipway.VersionReleased, Kind: kindRoll, Key: jobs.Product},
		{On: slipway.NodeReported, Kind: kindRoll, Key: jobs.Product},
		{On: slipway.NodeJoined, Kind: kindNode, Key: jobs.SubjectID},
		{On: slipway.NodeOnline, Kind: kindNode, Key: jobs.SubjectID},
		{On: slipway.NodeOffline, Kind: kindNode, Key: jobs.SubjectID},
	}
}

// Versions lists versions, newest first.
func (s *Service) Versions(ctx context.Context, product, after string, limit int) (found []Version, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		found, err = tx.Versions().Find(ctx, slipway.Query{Product: product, Newest: true, After: after, Limit: limit})
		return err
	})
	return found, err
}

// Version returns one version.
func (s *Service) Version(ctx context.Context, id string) (v Version, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		v, err = tx.Versions().Get(ctx, id)
		return err
	})
	return v, err
}

// Slices returns what a version asks of each node, or of one.
func (s *Service) Slices(ctx context.Context, version, node string) (found []Slice, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		if node != "" {
			one, err := tx.Slices().Get(ctx, version+"/"+node)
			found = []Slice{one}
			return err
		}
		if _, err := tx.Versions().Get(ctx, version); err != nil {
			return err
		}
		found, err = tx.Slices().Find(ctx, slipway.Query{Key: version})
		return err
	})
	return found, err
}

// Status is a product in service, as people see it.
type Status struct {
	Deployment Deployment  `json:"deployment"`
	Version    *Version    `json:"version,omitempty"` // in force
	Nodes      []NodeState `json:"nodes"`
}

// Status tells how a product stands on its nodes.
func (s *Service) Status(ctx context.Context, product string) (out Status, err error) {
	online, err := s.online(ctx)
	if err != nil {
		return out, err
	}
	err = s.store.View(ctx, func(tx Tx) error {
		if out.Deployment, err = tx.Deployments().Get(ctx, product); err != nil {
			return err
		}
		if out.Deployment.Current == "" {
			return nil
		}
		v, err := tx.Versions().Get(ctx, out.Deployment.Current)
		if err != nil {
			return err
		}
		out.Version = &v
		out.Nodes, err = tx.NodeStates().Find(ctx, slipway.Query{Product: product})
		return err
	})
	for i := range out.Nodes {
		if !online[out.Nodes[i].Node] {
			out.Nodes[i].Standing = plan.Offline(out.Nodes[i].Standing)
		}
	}
	slices.SortFunc(out.Nodes, func(a, b NodeState) int { return strings.Compare(a.Node, b.Node) })
	return out, err
}

// Kept is a resource on a node, with what its agent says about it.
type Kept struct {
	plan.Resource
	Status *plan.Status `json:"status,omitempty"` // nil: nothing was reported yet
}

// OnNode is a product on one node, resource by resource.
type OnNode struct {
	State     NodeState `json:"state"`
	Version   Version   `json:"version"`
	Resources []Kept    `json:"resources"`
}

// Node tells what is deployed on a node, for each product: the way from running bytes back to a model line and a release.
func (s *Service) Node(ctx context.Context, node string) (out []OnNode, err error) {
	online, err := s.online(ctx)
	if err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(tx Tx) error {
		out = []OnNode{}
		states, err := tx.NodeStates().Find(ctx, slipway.Query{Key: node})
		if err != nil {
			return err
		}
		for _, st := range states {
			v, err := tx.Versions().Get(ctx, st.Version)
			if err != nil {
				return err
			}
			slice, err := tx.Slices().Get(ctx, st.Version+"/"+node)
			if err != nil {
				return err
			}
			reported := map[string]*plan.Status{}
			for i := range st.Statuses {
				reported[st.Statuses[i].ID] = &st.Statuses[i]
			}
			if !online[node] {
				st.Standing = plan.Offline(st.Standing)
			}
			on := OnNode{State: st, Version: v}
			for _, r := range slice.Resources {
				k := Kept{Resource: r}
				if status := reported[r.ID]; status != nil && status.Hash == r.Hash {
					k.Status = status
				}
				on.Resources = append(on.Resources, k)
			}
			out = append(out, on)
		}
		return nil
	})
	return out, err
}

// Recompile has a product's model compiled again, for instance after its compose was repaired.
func (s *Service) Recompile(ctx context.Context, product string) error {
	return s.store.Update(ctx, func(tx Tx) error { return tx.Wake(ctx, kindCompile, product, tx.Now()) })
}

func (s *Service) online(ctx context.Context) (map[string]bool, error) {
	nodes, err := s.deps.Nodes.Nodes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	online := map[string]bool{}
	for _, n := range nodes {
		online[n.Name] = n.Online
	}
	return online, nil
}

// versionID writes the id of a version.
func versionID(product string, number int64) string { return fmt.Sprintf("%s-%d", product, number) }
