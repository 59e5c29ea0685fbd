//go:build !long

package integration_test

// killEvery is after which writes the queue is killed: every seventh; in the long tests, all of them.
const killEvery = 7
