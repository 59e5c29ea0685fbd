// Package auth knows who is calling and what they may do.
//
// A [User] has one [Role]; the roles are ordered, and each may do what the ones before it may. A person or program proves
// to be a user with an API token: "slw_" and 256 random bits. Only the token's SHA-256 is stored, so a stolen database
// opens no door; a hash without salt or stretching is enough because the secret cannot be guessed. A token may carry a
// lower role than its user, expires if asked to, and is revoked at once. The dashboard turns a token into a [Session], a
// cookie that is hashed in the same way and ends with its token.
//
// Every change of users and tokens is an event (auth.user.changed, auth.token.issued, auth.token.revoked) in the same
// transaction. The last enabled admin can neither be disabled nor lose the role, so that nobody is locked out.
//
// [Service.Authenticate] turns a secret into an [Identity], [With] and [From] carry it in a context, and
// [Require] is the one place that compares roles.
package auth
