package reapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

// Bounds of uploads that wait to be taken up again.
const (
	maxUploads = 1000
	uploadAge  = time.Hour
)

// uploads are the blobs under way, so that a stream that broke can go on where it was.
type uploads struct {
	dir  string
	mu   sync.Mutex
	open map[string]*upload
}

// upload is one of them. Who took it alone uses file and size; others read committed under the lock of uploads.
type upload struct {
	key  string
	res  resource
	file *os.File
	size int64

	busy      bool
	committed int64
	used      time.Time
}

// uploadKey keeps the uploads of different users apart.
func uploadKey(ctx context.Context, name string) string { return auth.Actor(ctx) + " " + name }

// take begins an upload or takes it up again.
func (us *uploads) take(key string, res resource) (*upload, error) {
	us.mu.Lock()
	defer us.mu.Unlock()
	now := time.Now()
	for k, u := range us.open {
		if !u.busy && now.Sub(u.used) > uploadAge {
			us.remove(k, u)
		}
	}
	if u := us.open[key]; u != nil {
		if u.busy {
			return nil, status.Error(codes.Aborted, "another stream writes this upload; try again, or use another name")
		}
		u.busy = true
		return u, nil
	}
	if len(us.open) >= maxUploads {
		return nil, status.Errorf(codes.ResourceExhausted, "%d uploads are under way; try again later", len(us.open))
	}
	f, err := os.CreateTemp(us.dir, "upload-")
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "begin the upload: %w", err)
	}
	u := &upload{key: key, res: res, file: f, busy: true}
	us.open[key] = u
	return u, nil
}

// leave gives an upload back. One that is finished is gone then.
func (us *uploads) leave(u *upload) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u.busy, u.committed, u.used = false, u.size, time.Now()
	if us.open[u.key] != u {
		us.discard(u)
	}
}

// forget lets no other stream take an upload up.
func (us *uploads) forget(u *upload) {
	us.mu.Lock()
	defer us.mu.Unlock()
	delete(us.open, u.key)
}

func (us *uploads) remove(key string, u *upload) {
	delete(us.open, key)
	us.discard(u)
}

func (us *uploads) discard(u *upload) {
	u.file.Close()
	_ = os.Remove(u.file.Name()) // the folder is emptied at the next start
}

// committed returns how many bytes of an upload are here.
func (us *uploads) committed(key string) (int64, bool) {
	us.mu.Lock()
	defer us.mu.Unlock()
	u := us.open[key]
	if u == nil {
		return 0, false
	}
	return u.committed, true
}

// write appends data, which begins at offset. What came before is not written again.
func (u *upload) write(offset int64, data []byte) error {
	if offset != u.size {
		return status.Errorf(codes.OutOfRange, "the data begins at byte %d, and %d are here; ask with QueryWriteStatus", offset, u.size)
	}
	if u.size+int64(len(data)) > u.res.size {
		return slipway.Errorf(slipway.Invalid, "more than %d bytes were sent", u.res.size)
	}
	n, err := u.file.WriteAt(data, u.size)
	u.size += int64(n)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "write the upload: %w", err)
	}
	return nil
}

func (u *upload) digest() (artifact.Digest, error) {
	if _, err := u.file.Seek(0, io.SeekStart); err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "read the upload: %w", err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, u.file); err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "read the upload: %w", err)
	}
	return artifact.Prefix + hex.EncodeToString(h.Sum(nil)), nil
}
