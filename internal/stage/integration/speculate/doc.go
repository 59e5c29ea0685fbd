// Package speculate is the planner of the integration queue.
package speculate
