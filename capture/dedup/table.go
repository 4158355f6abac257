package dedup

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// Store is where frames that are no duplicates are stored: in order, each under the
// next number. stream.Producer implements it.
type Store interface {
	// Next is the number of the next frame.
	Next() uint64
	// Stored returns a stored frame: its bytes, as far as they were kept, and its
	// length, VLAN and Info. It returns false if they have been overwritten. The
	// bytes are valid until the next frame is stored.
	Stored(number uint64) (ring.Frame, bool)
}

// Table is a table of recent frames. It is used by one goroutine at a time.
type Table struct {
	// Of all records, slot after slot. A search reads only seen.
	seen    []uint64 // lower 48 bits of ns, upper 16 bits of the hash
	refs    []uint64 // upper 16 bits of ns, lower 48 bits of the original's number
	digests []digest // of the original, valid if not all of it was stored

	window uint64 // ns
	mask   uint64 // slots - 1
	pools  uint64
	bytes  int
	ignore Fields
	index  Index
	wide   bool // enterNewAVX2 knows such slots

	hash    hashing
	hashes  [chunk]uint64
	secrets *secrets
	one     [1]ring.Frame // a frame in one buffer, to be hashed
	buffers [2][]byte     // for frames in several buffers, and without fields
	stats   Stats
	config  Config

	// The call of Mark.
	frames []ring.Frame
	store  Store
	next   uint64           // number of the first frame stored
	kept   int              // frames so far that will be stored
	order  [MaxBatch]uint16 // their places in frames
}

// MaxBatch is the largest number of frames that Mark takes.
const MaxBatch = 4096

const (
	half     = 48 // bits of the lower part of a stamp or number
	halfMask = 1<<half - 1
	tagMask  = 1<<(64-half) - 1

	never = 1 << 63 // ns of an empty record: further away than any window
)

// Stats are a table's counters.
type Stats struct {
	Frames     uint64 `json:"frames"`
	Duplicates uint64 `json:"duplicates"`
	// Evicted records were younger than the window when another frame replaced them;
	// later copies of these frames are missed. If that is more than a few percent of
	// the frames, the table is too small.
	Evicted uint64 `json:"evicted"`
	// Overwritten frames were no longer in the store when a copy came, so that it
	// could not be compared and was kept: the store is smaller than the window.
	Overwritten uint64 `json:"overwritten"`
}

// New returns a table. A record takes 32 bytes, so the default table takes 1 MiB. New
// touches all of it, so that no page faults occur later.
func New(c Config) (*Table, error) {
	c, err := c.WithDefaults()
	if err != nil {
		return nil, err
	}
	t := &Table{
		seen:    make([]uint64, c.Records),
		refs:    make([]uint64, c.Records),
		digests: make([]digest, c.Records),
		window:  uint64(c.Window),
		mask:    uint64(c.Records/c.Pools - 1),
		pools:   uint64(c.Pools),
		bytes:   c.Bytes,
		ignore:  c.Ignore,
		index:   c.Index,
		secrets: newSecrets(),
		config:  c,
	}
	if t.bytes == 0 {
		t.bytes = MaxFrame
	}
	for i := range t.refs {
		t.seen[i], t.refs[i], t.digests[i] = 0, never, digest{}
	}
	for i := range t.buffers {
		t.buffers[i] = make([]byte, MaxFrame)
		clear(t.buffers[i])
	}
	t.wide = useAVX2 && c.Pools == wideSlot && c.Index == IndexContent
	t.hash = newHashing(t)
	return t, nil
}

func newHashing(t *Table) hashing {
	p := hashing{most: uint64(t.bytes), seen: t.seen, refs: t.refs, mask: t.mask, pools: t.pools}
	for i := range p.keys {
		binary.LittleEndian.PutUint64(p.keys[i][:], t.secrets[2*i])
		binary.LittleEndian.PutUint64(p.keys[i][8:], t.secrets[2*i+1])
	}
	if t.ignore&VLAN == 0 {
		p.tags = 1<<64 - 1
	}
	return p
}

// Config returns the settings with the defaults filled in.
func (t *Table) Config() Config { return t.config }

// Stats returns the counters. It is called by the table's goroutine only.
func (t *Table) Stats() Stats { return t.stats }

// useAVX2: search with these instructions. Tests change it.
var useAVX2 = hasAVX2()

const wideSlot = 8 // records of a slot that enterNewAVX2 searches

// chunk is the number of frames that are hashed at a time.
const chunk = 64

// Mark finds the duplicates among the next frames, at most MaxBatch. It sets keep[i]
// to 0 if frames[i] is a duplicate, and returns the number of duplicates. keep has the
// bytes that will be stored of each frame; frames of which that is 0 are left out.
// The caller then stores the others in store, in order and before the next call.
// stamps and keep are as long as frames. Records with later stamps are ignored.
func (t *Table) Mark(store Store, frames []ring.Frame, stamps []clock.Stamp, keep []uint32) (duplicates int) {
	t.frames, t.store, t.next, t.kept = frames, store, store.Next(), 0
	for from := 0; from < len(frames); from += chunk {
		to := min(from+chunk, len(frames))
		t.hashChunk(frames[from:to], keep[from:to])
		duplicates += t.markChunk(from, stamps[from:to], keep[from:to])
	}
	t.frames, t.store = nil, nil
	t.stats.Duplicates += uint64(duplicates)
	return duplicates
}

// hashChunk hashes frames. It prefetches their slots, so that the cache misses overlap.
func (t *Table) hashChunk(frames []ring.Frame, keep []uint32) {
	for i := 0; i < len(frames); i++ {
		if t.ignore == 0 {
			i += hashFrames(frames[i:], keep[i:len(frames)], t.hashes[i:len(frames)], &t.hash)
			if i == len(frames) {
				return
			}
		}
		if keep[i] == 0 || !complete(&frames[i]) {
			continue
		}
		v := t.viewOf(&frames[i], 0)
		t.one[0] = ring.Frame{Data: v.data, Len: uint32(len(v.data)), VLAN: frames[i].VLAN, Info: frames[i].Info}
		if min(len(v.data), t.bytes) < shortest {
			hashFramesGo(t.one[:], keep[i:i+1], t.hashes[i:i+1], &t.hash)
		} else {
			hashFrames(t.one[:], keep[i:i+1], t.hashes[i:i+1], &t.hash)
		}
	}
}

// markChunk marks the frames from first on, whose hashes are there.
func (t *Table) markChunk(first int, stamps []clock.Stamp, keep []uint32) (duplicates int) {
	frames := t.frames[first:][:len(keep)]
	for i := 0; i < len(keep); i++ {
		if t.wide {
			if i += enterNewAVX2(t, first+i, frames[i:], t.hashes[i:len(keep)], stamps[i:], keep[i:]); i == len(keep) {
				break
			}
		}
		if keep[i] != 0 && t.mark(first+i, t.hashes[i], stamps[i].UnixNano(), keep[i]) {
			keep[i] = 0
			duplicates++
		}
	}
	return duplicates
}

// complete reports whether the buffers of a frame hold all of it, and it can be stored.
func complete(f *ring.Frame) bool { return f.Len <= MaxFrame && available(f) == int(f.Len) }

// available is the number of bytes in the buffers of a frame.
func available(f *ring.Frame) int {
	n := len(f.Data)
	for _, part := range f.Rest {
		n += len(part)
	}
	return n
}

// mark reports whether a frame is a duplicate, and enters it.
func (t *Table) mark(i int, hash, ns uint64, keep uint32) bool {
	f := &t.frames[i]
	if len(f.Data) != int(f.Len) && !complete(f) || f.Len > MaxFrame {
		t.skip(f, i, keep)
		return false
	}
	t.stats.Frames++
	slot := hash & t.mask
	if t.index == IndexRSS {
		slot = uint64(f.Hash) & t.mask
	}
	first := slot * t.pools
	found, j := t.search(f, first, hash, ns)
	ref := (t.next + uint64(t.kept)) & halfMask
	if found >= 0 {
		ref = t.refs[first+uint64(found)] & halfMask
		if t.index == IndexContent {
			j = found
		}
	}
	if j != found && ns-t.stamp(first+uint64(j)) <= t.window {
		t.stats.Evicted++
	}
	t.seen[first+uint64(j)] = ns<<(64-half) | hash>>half
	t.refs[first+uint64(j)] = ns&^halfMask | ref
	if found >= 0 {
		t.digests[first+uint64(j)] = t.digests[first+uint64(found)]
		return true
	}
	if keep < f.Len {
		t.digests[first+uint64(j)] = t.digestOf(f)
	}
	t.enter(i)
	return false
}

// search returns the place of a frame in its slot, -1 if it is not there, and the place
// of the oldest record.
func (t *Table) search(f *ring.Frame, first, hash, ns uint64) (found, oldest int) {
	now := ns<<(64-half) | hash>>half
	found, last := -1, uint64(0)
	seen := t.seen[first:][:t.pools]
	for i, w := range seen {
		// If the hashes are equal, the lower bits of the difference are 0 and the
		// others the age. A stamp in the future has an age beyond any window.
		if bits.RotateLeft64(now-w, half) <= t.window && ns-t.stamp(first+uint64(i)) <= t.window {
			switch t.compare(f, first+uint64(i)) {
			case equal:
				found = i
			case overwritten:
				t.stats.Overwritten++
				w = now ^ 1<<63 // far away
				seen[i], t.refs[first+uint64(i)] = w, never
			}
		}
		// Age and place in one word are compared without a branch, which the
		// processor could not predict.
		last = max(last, (now|tagMask)-(w|tagMask)|uint64(i))
	}
	return found, int(last & tagMask)
}

// stamp returns when the last copy of a record's frame came, in ns.
func (t *Table) stamp(record uint64) uint64 {
	return t.refs[record]&^halfMask | t.seen[record]>>(64-half)
}

// enter notes that a frame will be stored.
func (t *Table) enter(i int) {
	t.order[t.kept] = uint16(i)
	t.kept++
}

// skip passes over a frame whose buffers do not hold all of it, or that is too long.
// It is stored only if what is kept lies in its first buffer.
func (t *Table) skip(f *ring.Frame, i int, keep uint32) {
	if f.Len <= MaxFrame && len(f.Data) >= int(min(keep, f.Len)) {
		t.enter(i)
	}
}

// The results of a comparison.
type result uint8

const (
	different result = iota
	equal
	overwritten // the original is not there any more
)

// compare compares a frame with the original of a record.
func (t *Table) compare(f *ring.Frame, record uint64) result {
	number := t.refs[record]
	if n := (number - t.next) & halfMask; n < uint64(t.kept) {
		return t.compareWith(&t.frames[t.order[n]], f, record)
	}
	original, ok := t.store.Stored(t.next - (t.next-number)&halfMask)
	if !ok {
		return overwritten
	}
	return t.compareWith(&original, f, record)
}

func (t *Table) compareWith(original, f *ring.Frame, record uint64) result {
	a, b := t.viewOf(original, 0), t.viewOf(f, 1)
	if a.length != b.length || a.tag != b.tag {
		return different
	}
	want := min(len(b.data), t.bytes)
	n := min(want, len(a.data))
	switch {
	case !bytes.Equal(a.data[:n], b.data[:n]):
		return different
	case n < want && t.digests[record] != t.secrets.digest(b.data[:want]):
		return different
	}
	return equal
}

// digestOf returns the digest of what is compared of a frame.
func (t *Table) digestOf(f *ring.Frame) digest {
	data := t.viewOf(f, 0).data
	return t.secrets.digest(data[:min(len(data), t.bytes)])
}

// view is a frame as it is compared.
type view struct {
	data   []byte // as far as it was stored
	length int    // of all
	tag    uint32 // stripped
}

// viewOf returns a frame as it is compared. It may use one of the buffers.
func (t *Table) viewOf(f *ring.Frame, buffer int) view {
	v := view{data: f.Data, length: int(f.Len), tag: strippedTag(f)}
	if f.Rest == nil && t.ignore == 0 {
		return v
	}
	v.data = t.buffers[buffer]
	n := copy(v.data, f.Data)
	for _, part := range f.Rest {
		n += copy(v.data[n:], part)
	}
	v.data = t.ignore.mask(v.data[:n])
	v.length -= n - len(v.data)
	if t.ignore&VLAN != 0 {
		v.tag = 0
	}
	return v
}
