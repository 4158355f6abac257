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

// Stats are what a Keeper has done since it was made, and what it has left.
type Stats struct {
	Removed map[Reason]Count
	Spared  uint64            // times that a file should have gone and somebody had it
	Failed  map[string]uint64 // times that a file or a folder stood in the way, by the name of the errno
	Kept    Count             // at the end of the last look, files being written included
}

func (s *Stats) removed(r *Removal) {
	if s.Removed == nil {
		s.Removed = map[Reason]Count{}
	}
	c := s.Removed[r.Reason]
	s.Removed[r.Reason] = Count{Files: c.Files + 1, Bytes: c.Bytes + uint64(r.Bytes)}
}

// busy stands for archive.ErrBusy among the causes.
const busy = "busy"

// stays counts something that could not be deleted.
func (s *Stats) stays(why string) {
	if why == busy {
		s.Spared++
		return
	}
	if s.Failed == nil {
		s.Failed = map[string]uint64{}
	}
	s.Failed[why]++
}

func (s *Stats) kept(l *Listing) {
	s.Kept = Count{}
	for i := range l.Files {
		s.Kept.Files++
		s.Kept.Bytes += uint64(l.Files[i].Bytes)
	}
}

// cause is a short name for why something stays.
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
