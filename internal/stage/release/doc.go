// Package release is stage 7 of 9: it takes in candidates that passed their gate; it gives out a manifest commit and its tag in
// the product's integration repository.
//
// A release is cut in three steps, each of which may be cut short by a crash and is then done again with the same outcome:
//
//  1. The tag's name, the release notes and the time are written down with the request (a [Cut]), so that the commit and the
//     tag object that follow have the same ids however often they are made.
//  2. The branch main and the new tag move in one compare-and-swap: from the very commit that the candidate was tested on.
//     If main is elsewhere the cut is given up with a Conflict, and nothing has happened.
//  3. The release is recorded, with its event.
//
// Tags are vYYYY.MM.N: N counts the releases of the month, in UTC, from 1.
package release
