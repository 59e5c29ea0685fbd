// Package rpmrepo writes a dnf repository: the repodata folder over a folder of RPM packages.
//
// Takes in a directory with packages below Packages/; gives out repodata/ with repomd.xml, primary, filelists and other,
// and comps ("group") when there are groups; repomd.xml.asc when it is signed. File names begin with their SHA-256, so a
// client never mixes two versions. The bytes depend on the packages and the given time alone.
//
// What it writes is what createrepo_c 0.17 writes for the same packages, but for the SQLite databases, which dnf does
// not read; a test compares the two. Packages are read from their headers, not unpacked.
//
// Formats: createrepo_c src/xml_dump_*.c (primary, filelists, other, repomd), libcomps comps.dtd.
package rpmrepo
