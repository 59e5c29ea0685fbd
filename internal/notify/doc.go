// Package notify sends events to people and programs that asked for them: a CloudEvent by POST to a webhook, or a mail.
//
// It takes in the whole ledger and gives out deliveries, through three reconcilers:
//
//   - notify.product (key: a product) makes the subscriptions of a product's file so, when the file comes into force.
//   - notify.fan (one key) reads the ledger from where it stopped. For each event and each subscription that wants it, it
//     writes a [Delivery]; the rows and the new place in the ledger are one transaction, so each is written once.
//   - notify.deliver (key: a delivery) sends one, with the jobs' retry and back-off.
//
// # States of a delivery
//
//	pending    to be sent; the reason says what went wrong last, if anything did
//	delivered  the receiver said so
//	failed     the receiver refused it for good (a 4xx other than 408 and 429, an SMTP 5xx), or the subscription is gone
//
// A delivery that the receiver never answered is pending until its job is a dead letter; people revive it as any job.
// Sending is at least once: a kill between sending and noting it sends again, with the same delivery id (header
// Slipway-Delivery, in mail the Message-ID), by which a receiver can tell.
//
// # Signature
//
// Slipway-Signature is "t=UNIX,v1=HEX": HEX is the HMAC-SHA-256 of "UNIX.BODY" under the subscription's secret. A
// receiver checks it, and that the time is recent, before it believes the body.
package notify
