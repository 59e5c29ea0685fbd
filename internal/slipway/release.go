package slipway

import "time"

// Release is a tagged manifest commit: exactly what was tested.
type Release struct {
	ID        string              `json:"id"` // PRODUCT-TAG: "ferry-v2026.11.3"
	Product   string              `json:"product"`
	Tag       string              `json:"tag"`                // "v2026.11.3"
	Commit    string              `json:"commit"`             // of the integration repository
	Previous  string              `json:"previous,omitempty"` // id of the release before
	Manifests map[string]Manifest `json:"manifests"`          // by configuration
	Moved     []Pin               `json:"moved"`              // the pins that this release moved
	Entry     string              `json:"entry"`              // the queue entry that asked: "entry/3"
	Candidate string              `json:"candidate"`          // whose verdicts it was landed on: "candidate/ab12..."
	Notes     string              `json:"notes"`              // Markdown, from the commits between
	Time      time.Time           `json:"time"`
}

// Row implements [Record]; the key is the commit.
func (r Release) Row() Row { return Row{ID: r.ID, Product: r.Product, Key: r.Commit} }

// ReleaseRequest asks for a release. Asking again for the same entry returns the same release.
type ReleaseRequest struct {
	Product   string              `json:"product"`
	Repo      string              `json:"repo"`      // the integration repository
	Base      string              `json:"base"`      // the commit of its main that the candidate was tested on
	Entry     string              `json:"entry"`     // "entry/3"
	Candidate string              `json:"candidate"` // "candidate/ab12..."
	Title     string              `json:"title"`     // of the entry, for the commit's subject
	Manifests map[string]Manifest `json:"manifests"` // by configuration
	Moved     []Pin               `json:"moved"`
}
