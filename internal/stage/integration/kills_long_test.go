//go:build long

package integration_test

// killEvery is after which writes the queue is killed: each of them.
const killEvery = 1

// chaosSeeds is how many random histories are driven.
const chaosSeeds = 40

// engines are the databases that kills and chaos are tried on.
var engines = []string{sqlite, postgres}
