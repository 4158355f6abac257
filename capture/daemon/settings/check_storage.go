package settings

import (
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapstore"
	"github.com/ixcap/ixcap/capture/archive/rawstore"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
)

// Bounds of flush: below, every write is one of a few frames; above, a crash loses
// more than expected.
const (
	minFlush = time.Millisecond
	maxFlush = time.Minute
)

// check calls bad with what is wrong, by key. queues is the port's number of queues, 0 if
// it is not known yet. Limits of the storers are theirs: each
// value is checked as the only one of a configuration, so that the error is of its
// key.
func (s *Storage) check(queues int, bad func(own, format string, args ...any)) {
	s.checkDirs(bad)
	if s.Queue != capture.AllQueues && (s.Queue < 0 || queues > 0 && int(s.Queue) >= queues) {
		bad("queue", "%d: must be below %d, the number of queues, or all", s.Queue, queues)
	}
	if s.Format == Raw {
		if s.Zstd != 0 {
			bad("zstd", "only files of the formats pcap and pcapng are compressed: remove it, or set another format")
		}
		if s.StoreFilter != "" {
			bad("store_filter", "only for the formats pcap and pcapng: use rules, or set another format")
		}
	}
	owned := func(key string, err error) {
		if err != nil {
			bad(key, "%v", err)
		}
	}
	owned("zstd", pcapstore.Config{Level: s.Zstd}.Check())
	if s.StoreFilter != "" {
		_, err := pcapfilter.Compile(s.StoreFilter)
		owned("store_filter", err)
	}
	if s.Segment <= 0 {
		bad("segment", "%v: must be at least 1MiB", s.Segment)
	} else {
		owned("segment", stream.Config{Size: stream.Block, Segment: int64(s.Segment)}.Check())
	}
	owned("block", rawstore.Config{Block: int(s.Block)}.Check())
	if s.InFlight < 1 {
		bad("in_flight", "%d: must be at least 1", s.InFlight)
	} else {
		owned("in_flight", rawstore.Config{Depth: s.InFlight}.Check())
	}
	if s.Flush.Duration() < minFlush || s.Flush.Duration() > maxFlush {
		bad("flush", "%v: must be %v to %v", s.Flush, minFlush, units.Duration(maxFlush))
	}
	owned("rotate", store.CheckPeriod(s.Rotate.Duration()))
}

func (s *Storage) checkDirs(bad func(own, format string, args ...any)) {
	switch {
	case len(s.Dirs) == 0 || slices.ContainsFunc(s.Dirs, func(dir string) bool { return strings.TrimSpace(dir) == "" }):
		bad("dirs", `no folder: list those for the files, or write "null" to store nothing`)
	case slices.Contains(s.Dirs, recorder.Null) && len(s.Dirs) > 1:
		bad("dirs", `"null" stores nothing and must be alone; write ./null for a folder of that name`)
	}
	for i, d := range s.Dirs {
		if slices.ContainsFunc(s.Dirs[:i], func(o string) bool { return filepath.Clean(o) == filepath.Clean(d) }) {
			bad("dirs", "folder %s is listed twice", d)
		}
	}
}
