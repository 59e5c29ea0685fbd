// Package httpapi is the REST API under /api/v1, with its OpenAPI 3.1 description at /api/openapi.json and .yaml and a page to
// read and try it at /api/docs that needs no network.
//
// There is one file per stage. It registers operations with [register]; the operation's [op] names the role that
// a caller needs, and an operation without one cannot be registered. Authentication and the role are checked before
// anything of the request is read, the body's size before it is parsed.
//
// Lists take limit and after, and answer with items, next (what to give as after for the next page; empty at the end) and a
// Link header (RFC 8288). Errors are problem details (RFC 9457) with kind, where and remedy beside the standard
// members; see [Problem]. GET /api/v1/events/stream is the ledger as server-sent events, resumable by
// Last-Event-ID.
//
// /healthz says that the process runs, /readyz that its parts do, /metrics is for Prometheus.
package httpapi
