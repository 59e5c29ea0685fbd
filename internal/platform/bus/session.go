package bus

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"slipway.dev/slipway/internal/slipway"
)

// SyncRequest is what an agent sends to its sync subject. Modules holds a report by module name; what is inside is
// between the module and its handler.
type SyncRequest struct {
	Version string                     `json:"version,omitempty"`
	Labels  map[string]string          `json:"labels,omitempty"`
	Facts   map[string]string          `json:"facts,omitempty"`
	Modules map[string]json.RawMessage `json:"modules"`
}

// SyncReply answers it. A module is in Modules or in Faults; Fault refuses the whole request.
type SyncReply struct {
	Time    time.Time                  `json:"time"` // the server's clock
	Modules map[string]json.RawMessage `json:"modules,omitempty"`
	Faults  map[string]Fault           `json:"faults,omitempty"`
	Fault   *Fault                     `json:"fault,omitempty"`
}

// Fault is a [slipway.Error] on the wire, in the members that RFC 9457 and Slipway's REST API use.
type Fault struct {
	Kind   slipway.Kind `json:"kind"`
	Detail string       `json:"detail"`
	Where  string       `json:"where,omitempty"`
	Remedy string       `json:"remedy,omitempty"`
}

// FaultOf takes the members from err.
func FaultOf(err error) Fault {
	f := Fault{Kind: slipway.KindOf(err), Detail: err.Error()}
	var e *slipway.Error
	if errors.As(err, &e) {
		bare := *e
		bare.Where, bare.Remedy = "", ""
		f.Detail, f.Where, f.Remedy = bare.Error(), e.Where, e.Remedy
	}
	return f
}

// Err is the fault as an error again.
func (f Fault) Err() error {
	return &slipway.Error{Kind: f.Kind, Message: f.Detail, Where: f.Where, Remedy: f.Remedy}
}

// The headers with which a sync request is signed: the bus may be somebody else's, so the server checks for itself who asks.
const (
	KeyHeader       = "Slipway-Key"
	SignatureHeader = "Slipway-Signature"
)

// SignMessage signs a message of the bus: its subject and body.
func SignMessage(key nkeys.KeyPair, subject string, body []byte) (string, error) {
	sig, err := key.Sign(messageText(subject, body))
	return base64.RawURLEncoding.EncodeToString(sig), err
}

// VerifyMessage reports whether signature is that of the key's owner.
func VerifyMessage(publicKey, signature, subject string, body []byte) bool {
	return verify(publicKey, signature, messageText(subject, body))
}

func messageText(subject string, body []byte) []byte {
	return append([]byte("slipway sync "+subject+"\n"), body...)
}

// RequestWindow is how far the time in a signed HTTP request may be from the server's.
const RequestWindow = 2 * time.Minute

const authScheme = "Slipway-Nkey "

// SignRequest puts an Authorization header on an HTTP request without a body: it covers the method, the path and the time.
func SignRequest(key nkeys.KeyPair, r *http.Request, now time.Time) error {
	pub, err := key.PublicKey()
	if err != nil {
		return slipway.Errorf(slipway.Internal, "read the agent's key: %w", err)
	}
	at := strconv.FormatInt(now.Unix(), 10)
	sig, err := key.Sign(requestText(r, at))
	if err != nil {
		return slipway.Errorf(slipway.Internal, "sign the request: %w", err)
	}
	r.Header.Set("Authorization", authScheme+pub+" "+at+" "+base64.RawURLEncoding.EncodeToString(sig))
	return nil
}

// VerifyRequest returns the public key whose owner signed r, at about now. Whether the key is known is for the caller to
// find out.
//
// Errors: Unauthenticated, for a missing or wrong signature and for a time outside [RequestWindow].
func VerifyRequest(r *http.Request, now time.Time) (publicKey string, err error) {
	fields := strings.Fields(strings.TrimPrefix(r.Header.Get("Authorization"), authScheme))
	if !strings.HasPrefix(r.Header.Get("Authorization"), authScheme) || len(fields) != 3 {
		return "", slipway.Errorf(slipway.Unauthenticated, "the request is not signed by an agent")
	}
	seconds, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || !verify(fields[0], fields[2], requestText(r, fields[1])) {
		return "", slipway.Errorf(slipway.Unauthenticated, "the signature does not fit the request")
	}
	if off := now.Sub(time.Unix(seconds, 0)); off > RequestWindow || off < -RequestWindow {
		return "", slipway.Errorf(slipway.Unauthenticated, "the request was signed at a time %s away from the server's", off.Abs().Round(time.Second)).
			Try("set the node's clock")
	}
	return fields[0], nil
}

func requestText(r *http.Request, at string) []byte {
	return []byte("slipway http " + r.Method + " " + r.URL.EscapedPath() + " " + at)
}

func verify(publicKey, signature string, text []byte) bool {
	if !ValidKey(publicKey) {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil {
		return false
	}
	pub, err := nkeys.FromPublicKey(publicKey)
	return err == nil && pub.Verify(text, raw) == nil
}
