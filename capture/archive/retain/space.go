package retain

import "time"

// owed is disk space that deleted files have not given back yet. File systems
// take their time (XFS frees in the background, btrfs with its next commit), and
// who has a deleted file open keeps its space. Whoever looked again meanwhile
// would delete more than needed.
type owed struct {
	sum   int64 // free space and what our files take, together, once all is back
	bytes int64 // at most
	until time.Time
}

// grace is how long deleted space is waited for.
const grace = time.Minute

// ours is what the files take on a file system.
func (l *Listing) ours(fs uint64) (sum int64) {
	for i := range l.Files {
		if l.Files[i].FS == fs {
			sum += l.Files[i].Frees
		}
	}
	return sum
}

// coming adds to each file system's free space what deleted files still owe. It
// is not counted on where less than half of the free space wanted is left: that
// the capture goes on is worth more than an old file.
func (k *Keeper) coming(l *Listing, p Policy, now time.Time) {
	for fs, o := range k.owed {
		s, there := l.Spaces[fs]
		o.bytes = min(o.bytes, o.sum-s.Free-l.ours(fs))
		if !there || o.bytes <= 0 || now.After(o.until) || s.Free < p.Free/2 {
			delete(k.owed, fs)
			continue
		}
		s.Free += o.bytes
		l.Spaces[fs], k.owed[fs] = s, o
	}
}

// owe notes that deleting gives back bytes, which l does not say yet.
func (k *Keeper) owe(fs uint64, sum, bytes int64, now time.Time) {
	o := owed{sum: sum, bytes: bytes + k.owed[fs].bytes, until: now.Add(grace)}
	k.owed[fs] = o
}
