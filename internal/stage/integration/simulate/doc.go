// Package simulate replays queue policies.
package simulate
