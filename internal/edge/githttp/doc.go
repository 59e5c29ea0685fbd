// Package githttp serves the repositories of stage/source over git's smart HTTP protocol (gitprotocol-http(5)), and is
// the gate that every push passes.
//
// The git processes of the system do the work: upload-pack for reading, receive-pack for writing. A request is
// authenticated by HTTP Basic with an API token as the password. Reading needs a viewer, pushing a developer.
//
// # A push
//
// receive-pack runs two hooks. Each is this same program (`slipway git-hook NAME`, see [Hook]) which asks the server over
// a unix socket, naming the push by a secret id that only its environment knows:
//
//   - pre-receive: policy ([judge], a pure function), then the validator of Slipway's own files at the pushed commits,
//     read from the quarantine; then the intent that makes branch history crash-safe (see stage/source). A refusal
//     refuses the whole push; its message reaches the pusher as "remote:" lines.
//   - proc-receive: a push to refs/for/BRANCH becomes a change or its next patchset. The pusher reads its number and address.
//
// When receive-pack has ended, the intent is settled from where the refs are: whether the client is still there or not.
// A client that goes away stops the push as long as its objects are not complete; afterwards the push is carried out.
//
// If the server is killed, the hooks lose their connection and refuse, so nothing moves without an intent; refs that
// moved before their record are recorded at the next start.
package githttp
