// Command ticket sells a passage: ticket PLACE prints one for the next ferry from there.
package main

import (
	"fmt"
	"os"
	"time"

	"ferry.example/timetable"
)

func main() {
	if len(os.Args) != 2 || (os.Args[1] != "deck" && os.Args[1] != "shore") {
		fmt.Fprintln(os.Stderr, "usage: ticket deck|shore")
		os.Exit(2)
	}
	fmt.Println(text(os.Args[1], time.Now().UTC()))
}

func text(from string, at time.Time) string {
	d := timetable.Next(from, at, 1)[0]
	return fmt.Sprintf("one passage from %s, %s, with the %s", d.From, d.Leaves.Format("15:04"), d.Ferry)
}
