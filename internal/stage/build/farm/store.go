package farm

import (
	"context"

	"slipway.dev/slipway/internal/slipway"
)

// Tx is what the farm needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Tasks() slipway.Table[Task]
	ActionResults() slipway.Table[CachedResult]
	// AfterCommit has f called once the transaction is committed.
	AfterCommit(f func())
}

// Owner is told, in the transactions that change a task, what becomes of it. The id is that of the owner: of "build/17", "17".
type Owner[T Tx] interface {
	Started(ctx context.Context, tx T, id string, t Task) error
	// Requeued tells that an attempt came to nothing, and the task waits again.
	Requeued(ctx context.Context, tx T, id string, t Task) error
	Ended(ctx context.Context, tx T, id string, t Task) error
}
