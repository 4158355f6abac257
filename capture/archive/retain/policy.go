package retain

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// Policy limits what is stored. A limit of 0 is none.
type Policy struct {
	Size int64         // bytes of all files of all folders together
	Age  time.Duration // since a file's last record
	Free int64         // bytes that are kept free on each folder's file system

	Files int // number of files of all folders together, those being written included
}

// Reason is the limit for which a file was deleted.
type Reason string

// Reasons, in the order of Plan.
const (
	ForAge  Reason = "age"
	ForFree Reason = "free"
	ForSize Reason = "size"

	ForFiles Reason = "files"
)

// text returns what a limit is about, for messages.
func (r Reason) text() string {
	switch r {
	case ForFree:
		return "free space"
	case ForSize:
		return "the size of all files"
	case ForFiles:
		return "the number of files"
	}
	return string(r)
}

// Check returns an error about the first invalid limit, by itself or for folders.
// Folders that cannot be made, because the one above does not exist either, are skipped.
func (p Policy) Check(dirs ...string) error {
	switch {
	case p.Size < 0:
		return fmt.Errorf("retain %d bytes: must not be negative. Choose a size, or 0 for no limit", p.Size)
	case p.Age < 0:
		return fmt.Errorf("retain for %v: must not be negative. Choose a time, or 0 for no limit", p.Age)
	case p.Free < 0:
		return fmt.Errorf("keep %d bytes free: must not be negative. Choose a size, or 0 for no limit", p.Free)
	case p.Files < 0:
		return fmt.Errorf("retain %d files: must not be negative. Choose a number, or 0 for no limit", p.Files)
	}
	if p.Free == 0 {
		return nil
	}
	for _, dir := range dirs {
		s, err := statfs(dir)
		if errors.Is(err, fs.ErrNotExist) { // it is made in the folder above
			dir = filepath.Dir(filepath.Clean(dir))
			s, err = statfs(dir)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if p.Free >= s.Size {
			return tooMuch(p.Free, s.Size, dir)
		}
	}
	return nil
}

func tooMuch(free, size int64, dir string) error {
	return fmt.Errorf("keep %d bytes free: the file system of %s has %d in all. Choose less", free, dir, size)
}

// limits reports whether there is any limit.
func (p Policy) limits() bool { return p != Policy{} }
