package store

// Stats are a storer's counters. In bytes, Read is the sum of Written, Filtered,
// Cut and all of Failed, once no block is in flight.
type Stats struct {
	Read         uint64            // bytes
	Written      uint64            // bytes on disk; it falls when written bytes turn out to be lost
	Failed       map[string]uint64 // bytes, by the name of the errno, such as "ENOSPC"
	FailedFrames uint64            // frames of which not all bytes are on disk
	Filtered     uint64            // bytes of packets that did not match
	Cut          uint64            // bytes left out by the snaplen
	Files        int               // begun, and not removed again

	Wrote     uint64 // bytes that the disks took, padding and file headers included; it only grows
	Indexed   int    // closed files with their sidecar
	Unindexed int    // closed files without a sidecar so far
	Failing   bool   // packets read at present are not stored
	Latency   Latency
	Dirs      []DirStats // in the order given to New
}

// DirStats are the counters of one folder.
type DirStats struct {
	Path    string
	Direct  bool   // written with O_DIRECT
	Files   int    // begun, and not removed again
	Wrote   uint64 // bytes; it only grows
	Waiting int    // blocks read and not written yet
	Failing string // the last error while the folder is degraded, else ""
	Latency Latency
}

// AddLosses fills Failed and FailedFrames.
func (s *Stats) AddLosses(byCause map[string]Amount) {
	for cause, a := range byCause {
		if s.Failed == nil {
			s.Failed = map[string]uint64{}
		}
		if a.Bytes > 0 {
			s.Failed[cause] += a.Bytes
		}
		s.FailedFrames += a.Packets
	}
}

// AddDirs fills Dirs and the sums over them.
func (s *Stats) AddDirs(d *Dirs) {
	for _, w := range d.all {
		dir := w.stats()
		dir.Direct = dir.Direct && !d.cfg.Buffered
		s.Files += dir.Files
		s.Wrote += dir.Wrote
		s.Latency.add(&dir.Latency)
		s.Dirs = append(s.Dirs, dir)
	}
}
