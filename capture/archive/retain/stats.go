package retain

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
)

// Count is a number of files and their bytes.
type Count struct {
	Files uint64
	Bytes uint64
}

func (c *Count) add(bytes int64) {
	c.Files++
	c.Bytes += uint64(bytes)
}

// Stats are the counters of a Cleaner since it was made.
type Stats struct {
	Removed   map[Reason]Count
	Open      Count             // deleted files that a reader has open now; their space is not free
	Reclaimed Count             // deleted files whose space was taken from a reader that had them open for too long
	Spared    uint64            // times that a file was not deleted because it is being written
	Unlocked  uint64            // times that another process kept the lock of a folder, so that scans went on without it
	Failed    map[string]uint64 // times that a file could not be deleted or a folder not be read, by the name of the errno
	Kept      Count             // after the last scan, files being written included
}

func (s *Stats) addRemoved(r *Removal) {
	if s.Removed == nil {
		s.Removed = map[Reason]Count{}
	}
	c := s.Removed[r.Reason]
	c.add(r.Bytes)
	s.Removed[r.Reason] = c
}

// Causes of archive.ErrBusy and errLocked.
const (
	busy   = "busy"
	locked = "locked"
)

// addError counts an error by its cause.
func (s *Stats) addError(why string) {
	switch why {
	case busy:
		s.Spared++
		return
	case locked:
		s.Unlocked++
		return
	}
	if s.Failed == nil {
		s.Failed = map[string]uint64{}
	}
	s.Failed[why]++
}

func (s *Stats) setKept(l *Listing) {
	s.Kept = Count{}
	for i := range l.Files {
		s.Kept.add(l.Files[i].Bytes)
	}
}

func (s *Stats) setOpen(all []*unlinked) {
	s.Open = Count{}
	for _, u := range all {
		s.Open.add(u.bytes)
	}
}

// cause returns a short name for an error.
func cause(err error) string {
	switch {
	case errors.Is(err, archive.ErrBusy):
		return busy
	case errors.Is(err, errLocked):
		return locked
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return "other"
}
