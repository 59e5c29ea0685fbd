// Package catalog knows what exists: products, their components, and what needs what, now and at any time before.
//
// It takes in the moves of refs and gives out ProductLoaded, ProductBroken, ProductRetired and ComponentSeen. Two reconcilers do it:
//
//   - catalog.product (key: a product's name) reads product.yaml at main of products/NAME, and for NAME@BRANCH at another branch that the
//     one at main names. A valid file comes into force; a broken one is noted with its problems, and the one before stays in force. A branch that
//     main names no more is retired.
//   - catalog.repo (key: a repository) goes through the moves of branch history that it has not seen, one by one, and
//     reads slipway.yaml of each component that some product has there. So needs are known for every push, not just
//     for the pushes that the reconciler was quick enough to see, and with the time of the push.
//
// # States
//
// A [Product] is "loaded", "broken" or, when it was a branch with a queue and is none any more, "retired". A [Component] is "missing" (no such branch, or no slipway.yaml at its path), "ok", or
// "broken" (the last push has a bad file; recipe and needs of the one before stay in force). Each has its Reason.
//
// # Time
//
// An [Edge] says that a component on a branch needed another from a move until a later one. The edges valid at a time answer
// "what depended on what then".
//
// Before anything reaches a branch, [Service.Check] refuses what would be broken, with the line in the file.
package catalog
