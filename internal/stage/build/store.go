package build

import (
	"context"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
)

// Tx is what the build stage needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Waves() slipway.Table[Wave]
	Builds() slipway.Table[Build]
}

// Source gives the repositories that pins name.
type Source interface {
	Git(repo string) (git.Repo, error)
}

// Artifacts keeps trees and logs. [artifact.Disk] does.
type Artifacts interface {
	artifact.Store
	// Tree returns a read-only folder with the tree.
	Tree(ctx context.Context, d artifact.Digest) (string, error)
}

// Executor runs commands. [sandbox.Runner] does.
type Executor interface {
	Run(ctx context.Context, spec sandbox.Spec) (sandbox.Exit, error)
	Check(ctx context.Context) error
}
