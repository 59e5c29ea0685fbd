package slipway

import (
	"encoding/json"
	"strings"
	"time"
)

// Event is something that happened: one line of the ledger.
type Event struct {
	Seq     int64           `json:"seq"`     // position in the ledger; gaps are possible, order is not in doubt
	ID      string          `json:"id"`      // unique; redelivery keeps it
	Type    EventType       `json:"type"`    // one of the constants below
	Subject string          `json:"subject"` // what it is about, as Ref writes it: "change/12"
	Product string          `json:"product,omitempty"`
	Actor   string          `json:"actor,omitempty"` // user, node or stage that did it
	Time    time.Time       `json:"time"`
	Reason  string          `json:"reason,omitempty"` // why, for a person
	Links   []string        `json:"links,omitempty"`  // other subjects it concerns: "commit/1f2e...", "entry/3"
	Data    json.RawMessage `json:"data,omitempty"`   // the payload; its shape is documented with the type
}

// Ref writes a subject: kind, a slash, the id.
func Ref(kind, id string) string { return kind + "/" + id }

// SplitRef takes a subject apart; ok is false when it has no slash.
func SplitRef(subject string) (kind, id string, ok bool) { return strings.Cut(subject, "/") }

// EventType names what happened, as "stage.what". On the bus it becomes a CloudEvents type
// (see platform/bus), a CDEvents one where the field has a word for it.
type EventType string

// The events of the road. The subject of each is given in parentheses.
const (
	RepoCreated    EventType = "source.repo.created"     // (repo/NAMESPACE/NAME)
	RefUpdated     EventType = "source.ref.updated"      // (repo/NAMESPACE/NAME) data: RefUpdate
	RefRejected    EventType = "source.ref.rejected"     // (repo/NAMESPACE/NAME) a push that was turned away
	MirrorSet      EventType = "source.mirror.set"       // (repo/NAMESPACE/NAME) it follows a remote from now on
	MirrorSynced   EventType = "source.mirror.synced"    // (repo/NAMESPACE/NAME)
	MirrorEnded    EventType = "source.mirror.ended"     // (repo/NAMESPACE/NAME) it takes pushes from now on
	ProductLoaded  EventType = "catalog.product.loaded"  // (product/NAME) a valid product file is in force
	ProductRetired EventType = "catalog.product.retired" // (product/NAME@BRANCH) the branch has no queue any more
	ProductBroken  EventType = "catalog.product.broken"  // (product/NAME) the pushed product file was refused
	ComponentSeen  EventType = "catalog.component.seen"  // (component/NAME) its file was read at a new commit

	ChangeCreated   EventType = "change.created"   // (change/N)
	PatchsetAdded   EventType = "change.patchset"  // (change/N)
	ChangeTested    EventType = "change.tested"    // (change/N)
	ChangeVoted     EventType = "change.voted"     // (change/N)
	ChangeApproved  EventType = "change.approved"  // (change/N)
	ChangeRejected  EventType = "change.rejected"  // (change/N) tests failed or a merge conflict
	ChangeLanded    EventType = "change.landed"    // (change/N) data: Pin
	ChangeAbandoned EventType = "change.abandoned" // (change/N)

	WaveStarted     EventType = "build.wave.started"     // (wave/ID)
	WaveFinished    EventType = "build.wave.finished"    // (wave/ID)
	BuildQueued     EventType = "build.action.queued"    // (build/ID)
	BuildStarted    EventType = "build.action.started"   // (build/ID)
	BuildFinished   EventType = "build.action.finished"  // (build/ID)
	BuildReused     EventType = "build.action.reused"    // (build/ID) a wave used what was there
	RebuildStarted  EventType = "build.rebuild.started"  // (rebuild/N)
	RebuildBroken   EventType = "build.rebuild.broken"   // (component/NAME) data: action and maintainers, who are told by mail
	RebuildStalled  EventType = "build.rebuild.stuck"    // (rebuild/N) it waits for a fix or a retry
	RebuildHeld     EventType = "build.rebuild.paused"   // (rebuild/N)
	RebuildResumed  EventType = "build.rebuild.resumed"  // (rebuild/N) from a pause, or with another attempt
	RebuildFinished EventType = "build.rebuild.finished" // (rebuild/N) passed or cancelled

	BuildForgot  EventType = "build.action.forgot"  // (build/ID) its failure is not reused any more
	BuildRetried EventType = "build.action.retried" // (build/ID) a worker could not run it; it waits for another

	EntryQueued   EventType = "integration.entry.queued"   // (entry/N)
	EntryTesting  EventType = "integration.entry.testing"  // (entry/N)
	EntryLanded   EventType = "integration.entry.landed"   // (entry/N)
	EntryRejected EventType = "integration.entry.rejected" // (entry/N)
	EntryDequeued EventType = "integration.entry.dequeued" // (entry/N)
	QueueFrozen   EventType = "integration.queue.frozen"   // (product/NAME)
	QueueResumed  EventType = "integration.queue.resumed"  // (product/NAME)

	NodeJoined         EventType = "lab.node.joined"         // (node/NAME)
	NodeOnline         EventType = "lab.node.online"         // (node/NAME)
	NodeOffline        EventType = "lab.node.offline"        // (node/NAME)
	LeaseGranted       EventType = "lab.lease.granted"       // (node/NAME)
	LeaseEnded         EventType = "lab.lease.ended"         // (node/NAME)
	ExperimentQueued   EventType = "lab.experiment.queued"   // (experiment/N)
	ExperimentStarted  EventType = "lab.experiment.started"  // (experiment/N)
	ExperimentFinished EventType = "lab.experiment.finished" // (experiment/N)

	ResultRecorded EventType = "gating.result.recorded" // (the result's subject) data: Result
	WaiverGranted  EventType = "gating.waiver.granted"  // (the waiver's subject)
	WaiverRevoked  EventType = "gating.waiver.revoked"  // (the waiver's subject)

	ReleaseCreated EventType = "release.created" // (release/PRODUCT-TAG)

	ComposeStarted  EventType = "compose.started"  // (compose/ID)
	ComposeFinished EventType = "compose.finished" // (compose/ID)
	ComposeFailed   EventType = "compose.failed"   // (compose/ID)

	ModelCompiled   EventType = "deploy.model.compiled"   // (version/PRODUCT-N)
	ModelBroken     EventType = "deploy.model.broken"     // (product/NAME)
	VersionReleased EventType = "deploy.version.released" // (version/PRODUCT-N)
	VersionDeployed EventType = "deploy.version.deployed" // (version/PRODUCT-N) every resource is as desired
	NodeReported    EventType = "deploy.node.reported"    // (node/NAME) some resource changed its status
	DriftRepaired   EventType = "deploy.drift.repaired"   // (node/NAME)

	ArtifactAttested EventType = "provenance.attested" // (build/ID or compose/ID) an artifact's provenance is signed
	KeyRotated       EventType = "provenance.rotated"  // (key/ID) statements are signed by this key from now on

	Subscribed   EventType = "notify.subscribed"   // (subscription/ID) events go to a webhook or mail address from now on
	Unsubscribed EventType = "notify.unsubscribed" // (subscription/ID)

	UserChanged  EventType = "auth.user.changed"  // (user/NAME)
	TokenIssued  EventType = "auth.token.issued"  // (user/NAME)
	TokenRevoked EventType = "auth.token.revoked" // (user/NAME)
)

// RefUpdate is one move of one ref, the unit of branch history.
type RefUpdate struct {
	Repo  string    `json:"repo"` // "components/libwire"
	Ref   string    `json:"ref"`  // "refs/heads/main"
	Old   string    `json:"old"`  // 40 zeros when created
	New   string    `json:"new"`  // 40 zeros when deleted
	Actor string    `json:"actor"`
	Time  time.Time `json:"time"`
}

// ZeroCommit is how git writes "no commit".
const ZeroCommit = "0000000000000000000000000000000000000000"
