// Package spool keeps what must not be lost before somebody else has it: a file of lines, each on disk before Append
// returns. A line that a crash cut short never happened.
package spool

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	"slipway.dev/slipway/internal/slipway"
)

// Log is an open spool. One goroutine at a time uses it.
type Log struct {
	f    *os.File
	size int64 // of the whole lines
}

// Open opens the spool at path, or makes it, and returns the whole lines that it holds, without their ends.
func Open(path string) (*Log, [][]byte, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, failed("open", path, err)
	}
	lines, err := recoverLines(f)
	if err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		f.Close()
		return nil, nil, failed("read", path, err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		f.Close()
		return nil, nil, failed("read", path, err)
	}
	return &Log{f, size}, lines, nil
}

// recoverLines reads the whole lines, and cuts off what follows the last of them.
func recoverLines(f *os.File) ([][]byte, error) {
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	if len(whole) < len(data) {
		if err := f.Truncate(int64(len(whole))); err != nil {
			return nil, err
		}
	}
	if _, err := f.Seek(int64(len(whole)), io.SeekStart); err != nil {
		return nil, err
	}
	if len(whole) == 0 {
		return nil, nil
	}
	return bytes.Split(whole[:len(whole)-1], []byte{'\n'}), nil
}

// Append writes one line, which must not hold a line end. When it returns nil the line is on disk.
func (l *Log) Append(line []byte) error {
	if bytes.IndexByte(line, '\n') >= 0 {
		return failed("write", l.f.Name(), errors.New("a record must be one line"))
	}
	n, err := l.f.WriteAt(append(bytes.Clone(line), '\n'), l.size)
	if err == nil {
		err = l.f.Sync()
	}
	if err != nil {
		// What was written in part must not be the beginning of the next line.
		return failed("write", l.f.Name(), errors.Join(err, l.f.Truncate(l.size)))
	}
	l.size += int64(n)
	return nil
}

// Close closes the file.
func (l *Log) Close() error { return l.f.Close() }

func failed(what, path string, err error) error {
	return slipway.Errorf(slipway.Unavailable, "%s the spool: %w", what, err).At(path).Try("is the disk full?")
}

// SyncDir makes the names in a folder durable: a new file, or one that was renamed, is there after a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
