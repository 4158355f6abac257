package stream

import (
	"encoding/binary"
	"time"
)

// view is a reader's read-only view of a stream's memory: a listener's is made of
// mappings of the descriptors, the stream's own of its own mappings.
//
// The header has passed check before a view is made. Every index below is masked or
// bounded, so that corrupt memory yields corrupt values and never a fault.
type view struct {
	data   []byte // twice mapped, but for a pool
	mask   uint64 // size of the data memory less 1
	pool   places // stride 0: none
	starts []start
	index  []Entry
	cur    *cursors
}

// position is a position in the stream: seq is the first frame at or after offset.
type position struct{ offset, seq uint64 }

// entry returns the index entry of a frame, valid if the frame is not overwritten.
func (v *view) entry(seq uint64) *Entry { return &v.index[seq&uint64(len(v.index)-1)] }

// overwritten reports whether what lies at a position may have been overwritten by
// now. It is called after reading.
//
// A1: the fence keeps the reads before the loads of the announcement. Pairs with R1
// in announce.
func (v *view) overwritten(at position) bool {
	fence()
	return at.offset+v.mask+1 < v.cur.ReserveOffset.Load() || at.seq+uint64(len(v.index)) < v.cur.ReserveSeq.Load()
}

// newest returns the end of what is published. A2: Head is loaded first, so that all
// entries of frames before it are visible; entries beyond it have a larger offset.
// Pairs with R2 in publish.
func (v *view) newest() position {
	head := v.cur.Head.Load()
	return position{head, v.search(v.cur.IndexHead.Load(), head)}
}

// published returns the end of what a listener can have read.
func (v *view) published() position {
	var at position
	for range 1000 {
		at.seq, at.offset = v.cur.IndexHead.Load(), v.cur.Head.Load()
		// A2, pairs with R2 in publish: entries are published just before the
		// bytes, so a listener may have read a frame that Head does not count yet.
		if at.seq > 0 {
			e := v.entry(at.seq - 1)
			at.offset = max(at.offset, e.Offset+RecordHeader+uint64(e.Caplen))
		}
		if v.cur.IndexHead.Load() == at.seq {
			break
		}
	}
	return at
}

// search returns the number of the first index entry at or after offset, which is
// among the last before limit; limit if there is none.
func (v *view) search(limit, offset uint64) uint64 {
	for range len(v.index) {
		if limit == 0 || v.entry(limit-1).Offset < offset || limit+uint64(len(v.index)) <= v.cur.IndexHead.Load() {
			break
		}
		limit--
	}
	return limit
}

// oldest returns the first record that is at least margin bytes ahead of what may be
// overwritten.
func (v *view) oldest(margin uint64) position {
	now := v.newest()
	if v.pool.stride != 0 {
		return v.oldestPlaced(margin, now)
	}
	size, entries := v.mask+1, uint64(len(v.index))
	reserve, reserveSeq := v.cur.ReserveOffset.Load(), v.cur.ReserveSeq.Load()
	lowest := uint64(0)
	if reserve+margin > size {
		lowest = reserve + margin - size
	}
	first := uint64(0)
	if skip := margin * entries / size; reserveSeq+skip > entries {
		first = reserveSeq + skip - entries
	}
	if first == 0 && lowest == 0 {
		return position{}
	}
	at := now.seq
	for lo, hi := min(first, at), at; lo < hi; {
		mid := lo + (hi-lo)/2
		if v.entry(mid).Offset >= lowest {
			hi, at = mid, mid
		} else {
			lo = mid + 1
		}
	}
	if at >= now.seq {
		return now
	}
	return position{v.entry(at).Offset, at}
}

// firstStart returns the first segment start that is published and not before a
// position; if there is none yet, the end of what is published, and false.
func (v *view) firstStart(from position) (position, bool) {
	now := v.newest()
	n := v.cur.Segments.Load() // A3, pairs with R3 in pad
	first, found := now, false
	for i := n; i > 0 && n-i+1 < uint64(len(v.starts)); i-- {
		st := &v.starts[(i-1)&uint64(len(v.starts)-1)]
		at := position{st.Offset.Load(), st.Seq.Load()}
		if at.offset < from.offset {
			break
		}
		if at.offset <= now.offset {
			first, found = at, true
		}
	}
	return first, found
}

// age returns the time since the stamp of the oldest frame at or after a position
// that is not overwritten; 0 if there is none before head.
func (v *view) age(at, head position) time.Duration {
	for tries := 0; tries < 100 && at.seq < head.seq; tries++ {
		if v.overwritten(at) {
			at = v.oldest(0)
			continue
		}
		stamp := binary.LittleEndian.Uint64(v.data[v.at(v.entry(at.seq)):])
		if !v.overwritten(at) {
			return max(0, time.Since(time.Unix(int64(uint32(stamp)), int64(stamp>>32))))
		}
	}
	return 0
}
