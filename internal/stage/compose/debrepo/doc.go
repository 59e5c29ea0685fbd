// Package debrepo writes an apt repository: dists/CODENAME over a folder of DEB packages.
//
// Takes in a directory with packages below pool/COMPONENT/; gives out, for every component and architecture, Packages and
// Packages.gz, also by their digests (by-hash), and Release over all of them, signed inline (InRelease) and apart
// (Release.gpg) when there is a key. A package for all architectures is listed under each. The bytes depend on the
// packages, the configuration and the given time alone.
//
// Packages are read from their control file, not unpacked; the field order follows dpkg-scanpackages, to which a test
// compares the result. Formats: deb(5), deb-control(5), and Debian's RepositoryFormat.
package debrepo
