// Package timetable knows when the ferries leave. Everything that shows or sells a departure asks it.
package timetable

import (
	_ "embed"
	"strings"
	"time"
)

//go:embed version.txt
var version string

// Version is this library's version.
func Version() string { return strings.TrimSpace(version) }

// Departure is a ferry that leaves. Its JSON form is read by signs that were put up years ago.
type Departure struct {
	Leaves time.Time `json:"leaves"`
	From   string    `json:"from"` // "deck" or "shore"
	Ferry  string    `json:"ferry"`
}

var ferries = []string{"Ada", "Grace", "Hedy"}

const (
	first = 6 * time.Hour
	last  = 22 * time.Hour
	every = 30 * time.Minute
)

// Next returns the n departures from a place at or after a time.
func Next(from string, at time.Time, n int) []Departure {
	var list []Departure
	offset := time.Duration(0)
	if from == "shore" {
		offset = 15 * time.Minute // the ferry must cross first
	}
	for day := at.Truncate(24 * time.Hour); len(list) < n; day = day.Add(24 * time.Hour) {
		for i, after := 0, first+offset; after <= last+offset && len(list) < n; i, after = i+1, after+every {
			if leaves := day.Add(after); !leaves.Before(at) {
				list = append(list, Departure{Leaves: leaves, From: from, Ferry: ferries[i%len(ferries)]})
			}
		}
	}
	return list
}
