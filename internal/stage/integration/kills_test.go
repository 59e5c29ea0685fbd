//go:build !long

package integration_test

// killEvery is after which writes the queue is killed: every thirty-first; in the long tests, all of them.
const killEvery = 31

// chaosSeeds is how many random histories are driven.
const chaosSeeds = 3

// engines are the databases that kills and chaos are tried on; in the long tests, PostgreSQL, too.
var engines = []string{sqlite}
