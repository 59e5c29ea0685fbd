// Package slipway holds the nouns that every part of Slipway shares, the one error type, and the
// contract of the ledger. It imports only the standard library, so that everything may import it.
//
// Three ideas live here and nowhere else:
//
//   - A fact is a row and an [Event], written in one transaction. [Store] is how a stage opens that
//     transaction, [Ledger] is what every transaction can do, and [Table] is how it keeps its nouns.
//   - Stages never import one another. They meet in the events named in event.go, and in the plain
//     types of this package ([Pin], [Manifest], [Result], ...).
//   - An [Error] says what is wrong, where, and what to do about it, in words fit for a person.
package slipway
