package retain

import "time"

// pendingFree is disk space of deleted files that the file system does not report
// as free yet: XFS frees it in the background, btrfs with its next commit, and a
// process that has a deleted file open keeps its space. Without it, the next scan
// would delete more than needed.
type pendingFree struct {
	sum   int64 // free space plus the space of our files, once all is free
	bytes int64 // at most
	until time.Time
}

// freeTimeout is how long pending space is expected to become free.
const freeTimeout = time.Minute

// ours returns the space of the listed files on a file system, in bytes.
func (l *Listing) ours(fs uint64) (sum int64) {
	for i := range l.Files {
		if l.Files[i].FS == fs {
			sum += l.Files[i].Frees
		}
	}
	return sum
}

// addPending adds the pending space to each file system's free space, unless less
// than half of the required free space is left: then the capture matters more than
// an old file.
func (k *Cleaner) addPending(l *Listing, p Policy, now time.Time) {
	for fs, o := range k.pending {
		s, there := l.Spaces[fs]
		o.bytes = min(o.bytes, o.sum-s.Free-l.ours(fs))
		if !there || o.bytes <= 0 || now.After(o.until) || s.Free < p.Free/2 {
			delete(k.pending, fs)
			continue
		}
		s.Free += o.bytes
		l.Spaces[fs], k.pending[fs] = s, o
	}
}

// expect adds bytes of deleted files to the pending space.
func (k *Cleaner) expect(fs uint64, sum, bytes int64, now time.Time) {
	k.pending[fs] = pendingFree{sum: sum, bytes: bytes + k.pending[fs].bytes, until: now.Add(freeTimeout)}
}
