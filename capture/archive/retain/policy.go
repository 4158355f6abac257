package retain

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Policy says what may stay. A limit of 0 is none.
type Policy struct {
	Size int64         // bytes of all files of all folders together
	Age  time.Duration // since a file's last record
	Free int64         // bytes that stay free on each folder's file system
}

// Reason is the limit for which a file was deleted.
type Reason string

// Reasons, in the order in which Plan looks.
const (
	ForAge  Reason = "age"
	ForFree Reason = "free"
	ForSize Reason = "size"
)

// Check says what is wrong with the limits by themselves and for folders, of
// which some may not exist yet.
func (p Policy) Check(dirs ...string) error {
	switch {
	case p.Size < 0:
		return fmt.Errorf("retain %d bytes: choose a size, or 0 for no limit", p.Size)
	case p.Age < 0:
		return fmt.Errorf("retain for %v: choose a time, or 0 for no limit", p.Age)
	case p.Free < 0:
		return fmt.Errorf("keep %d bytes free: choose a size, or 0 for no limit", p.Free)
	}
	if p.Free == 0 {
		return nil
	}
	for _, dir := range dirs {
		s, err := statfs(dir)
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
	return fmt.Errorf("keep %d bytes free: the file system of %s has %d in all; choose less", free, dir, size)
}

// limits tells whether there is anything to see to.
func (p Policy) limits() bool { return p != Policy{} }
