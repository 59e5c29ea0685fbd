// Package spec reads the files that people write: slipway.yaml of a component, product.yaml of an
// integration repository, and the experiments beside it.
//
// Reading is pure: bytes in, a typed value or an error out. An error is a [slipway.Error] of kind Invalid whose
// Where is FILE:LINE:COLUMN and whose Remedy says what would be right; every problem of a file is reported, not
// just the first. The shapes are published as JSON Schema for editors (see [Schema]).
package spec
