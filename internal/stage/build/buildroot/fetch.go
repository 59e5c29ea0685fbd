package buildroot

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// fetch makes sure that the store has the bytes of a digest, which come from a URL or a path of the repository.
func (in *resolution) fetch(ctx context.Context, from string, want artifact.Digest) error {
	if _, err := in.store.Stat(ctx, want); err == nil {
		return nil
	}
	r, err := in.open(ctx, from)
	if err != nil {
		return err
	}
	defer r.Close()
	got, _, err := in.store.Put(ctx, io.LimitReader(r, maxBytes))
	if err != nil {
		return slipway.Errorf(slipway.KindOf(err), "cannot fetch %s: %w", from, err)
	}
	if got != want {
		return slipway.Errorf(slipway.Invalid, "%s has other bytes than are pinned: %s, not %s", from, got, want).
			Try("check what it is; if it is right, pin the new digest")
	}
	return nil
}

// open reads a file or what a URL names.
func (in *resolution) open(ctx context.Context, from string) (io.ReadCloser, error) {
	u, err := url.Parse(from)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "%q is no URL: %w", from, err)
	}
	switch u.Scheme {
	case "":
		r, err := in.req.Files.Open(ctx, from)
		if err != nil {
			return nil, slipway.Errorf(slipway.KindOf(err), "cannot read %s in the repository: %w", from, err)
		}
		return r, nil
	case "file":
		f, err := os.Open(u.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, slipway.Errorf(slipway.NotFound, "%s is not there", from).Try("correct the path; it is one of the server's host")
		}
		if err != nil {
			return nil, slipway.Errorf(slipway.Unavailable, "cannot read %s: %w", from, err)
		}
		return f, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "%q is no URL: %w", from, err)
	}
	resp, err := in.cfg.Client.Do(req)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "cannot fetch %s: %w", from, err)
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		kind := slipway.Unavailable
		if resp.StatusCode == http.StatusNotFound {
			kind = slipway.NotFound
		}
		return nil, slipway.Errorf(kind, "cannot fetch %s: %s", from, resp.Status)
	}
	return resp.Body, nil
}
