// Package gating is stage 6 of 9: it takes in results, waivers and policies; it gives out decisions.
//
// A result is the outcome of one check for one subject. A requirement is a check that a subject must pass. A waiver says, with an
// author and a reason, that a requirement need not be met. [Decide] is the whole policy, a pure function over the three;
// everything else here keeps them.
//
// The newest result of a (subject, check, item, configuration) counts; results are replaced, never piled up, by whoever runs a
// check again. Nothing here runs checks: a missing result is said to be missing, not waited for.
package gating
