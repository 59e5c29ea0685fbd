package build

import "slipway.dev/slipway/internal/slipway"

// Rebuild is one.
type Rebuild struct {
	ID string `json:"id"`
}

// Row implements [slipway.Record].
func (r Rebuild) Row() slipway.Row { return slipway.Row{ID: r.ID} }
