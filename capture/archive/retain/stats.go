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

// Stats are the counters of a Cleaner since it was made.
type Stats struct {
	Removed map[Reason]Count
	Spared  uint64            // times that a file was not deleted because it was in use
	Failed  map[string]uint64 // times that a file could not be deleted or a folder not be read, by the name of the errno
	Kept    Count             // after the last scan, files being written included
}

func (s *Stats) addRemoved(r *Removal) {
	if s.Removed == nil {
		s.Removed = map[Reason]Count{}
	}
	c := s.Removed[r.Reason]
	s.Removed[r.Reason] = Count{Files: c.Files + 1, Bytes: c.Bytes + uint64(r.Bytes)}
}

// busy is the cause of archive.ErrBusy.
const busy = "busy"

// addFailed counts an error by its cause.
func (s *Stats) addFailed(why string) {
	if why == busy {
		s.Spared++
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
		s.Kept.Files++
		s.Kept.Bytes += uint64(l.Files[i].Bytes)
	}
}

// cause returns a short name for an error.
func cause(err error) string {
	if errors.Is(err, archive.ErrBusy) {
		return busy
	}
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return "other"
}
