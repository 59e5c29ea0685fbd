package server

import (
	"context"

	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/deploy"
)

// deployComposes tells the deploy stage about composes. A compose has the id of its release.
type deployComposes struct {
	composes *compose.Service
	url      string // of the server
}

func (c deployComposes) ComposeOf(ctx context.Context, release string) (deploy.ComposeStatus, error) {
	made, err := c.composes.Compose(ctx, release)
	if err != nil {
		return deploy.ComposeStatus{}, err
	}
	key, err := c.composes.PublicKey()
	if err != nil {
		return deploy.ComposeStatus{}, err
	}
	return deploy.ComposeStatus{ID: made.ID, State: string(made.State), Reason: made.Reason, URL: c.url + "/composes/" + made.ID, Key: string(key)}, nil
}

var (
	_ deploy.Composes = deployComposes{}
)
