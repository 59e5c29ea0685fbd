package wire

import "slipway.dev/slipway/internal/stage/build/buildroot"

// BuildrootView is a resolved buildroot.
type BuildrootView struct {
	buildroot.Lock
	Digest string `json:"digest" doc:"Of the lock, an artifact"`
}
