// Package plan decides what becomes of a change. It is pure: a snapshot in, a step or a version out.
//
// [Next] is the state machine:
//
//	open -> testing -> tested | failed -> approved -> landing -> landed
//	                     \_______________ conflict ______/
//	          abandoned from anywhere before landing
//
// A new patchset puts a change back to open, whatever it was before landing; votes count for their own patchset only. A failed
// change moves on when its gate is satisfied after all (a waiver, a test run again); a conflict waits for a new patchset.
//
// [Bump] reads conventional commits (conventionalcommits.org 1.0.0) and says what the next version is (semver.org 2.0.0).
package plan
