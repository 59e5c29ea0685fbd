package build

import (
	"context"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Tx is what the build stage needs inside one transaction.
type Tx interface {
	farm.Tx
	Waves() slipway.Table[Wave]
	Orders() slipway.Table[Order]
	Items() slipway.Table[Item]
	News() slipway.Table[News]
	Marks() slipway.Table[Mark]
	Rebuilds() slipway.Table[Rebuild]
	Builds() slipway.Table[Build]
}

// Source gives the repositories that pins name.
type Source interface {
	Git(repo string) (git.Repo, error)
}

// Artifacts keeps trees and logs. [artifact.Disk] does.
type Artifacts interface {
	artifact.Store
	// Together calls f with a store whose blobs become durable at once when it returns nil.
	Together(ctx context.Context, f func(ctx context.Context, st artifact.Store) error) error
	// Tree returns a read-only folder with the tree.
	Tree(ctx context.Context, d artifact.Digest) (string, error)
}
