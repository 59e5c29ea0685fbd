// Package debian reads a Debian archive's package lists and answers who needs whom in it: what would be touched when a package changes, and in
// which tiers the sources are to be rebuilt.
//
//	Packages, Sources ──[Open]──> Archive ──[Archive.Graph]──> Graph ──> Closure, Dependents, Tiers
//
// Lists are what apt keeps of its repositories: control files in the form of deb822(5), plain or compressed. They are cut into pieces at empty
// lines, which all processors read at once; a value is a piece of the list's text and is not copied. What is no list
// is refused with file and line.
//
// A [Graph] has a vertex for each binary package and for each source. A binary package needs what it depends on, and its source needs what it
// build-depends on; in the graph of rebuilds a binary package also needs the source that it is built from. Dependencies are
// resolved as apt and dpkg do: by name, version, architecture qualifier and through Provides (deb-control(5), deb-version(7), Debian policy 7).
// Every alternative that can satisfy a dependency counts, because any of them may be what an installation has; [Rules]
// change that, so that the answers of other programs can be had too.
//
// Only one architecture is looked at, with what is for all. Conflicts are not: nothing here says whether packages can be installed together.
package debian
