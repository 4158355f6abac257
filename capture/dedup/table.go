package dedup

import (
	"bytes"
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// Table remembers frames. It is used by one goroutine at a time.
type Table struct {
	heads  []head // of all records, slot after slot
	bodies []byte // of all records
	window uint64 // ns
	mask   uint64 // slots - 1
	pools  uint64
	stride uint64 // bytes of a body
	bytes  int
	index  Index

	stats   Stats
	places  [chunk]place
	scratch []byte // first bytes of a frame in several buffers
	sink    uint64
	config  Config
}

// head is what a frame's slot is searched by. Those of one slot lie together: four
// on a cache line.
type head struct {
	ns    uint64 // since 1970
	check uint64 // hash of the content, or the key where nothing is hashed; 0: nothing was stored yet
}

// Stats are what a table has seen.
type Stats struct {
	Frames     uint64 `json:"frames"`
	Duplicates uint64 `json:"duplicates"`
	// Evicted records were replaced by another frame while they were younger than
	// the window: a duplicate of theirs that comes now is missed. Where that is more
	// than a few of a hundred frames the table is too small.
	Evicted uint64 `json:"evicted"`
}

// New makes a table: 144 bytes for each record at 96 bytes compared, so 4.5 MiB by
// default. All of it is touched, so that no page is missing later.
func New(c Config) (*Table, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	const half = 32 // of a cache line
	stride := (keySize + c.Bytes + half - 1) / half * half
	t := &Table{
		heads:   make([]head, c.Records),
		bodies:  make([]byte, c.Records*stride),
		window:  uint64(c.Window),
		mask:    uint64(c.Records/c.Pools - 1),
		pools:   uint64(c.Pools),
		stride:  uint64(stride),
		bytes:   c.Bytes,
		index:   c.Index,
		scratch: make([]byte, c.Bytes),
		config:  c,
	}
	// A page that is only mapped would fault at its first frame.
	for i := 0; i < len(t.bodies); i += 4096 {
		t.bodies[i] = 0
	}
	for i := 0; i < len(t.heads); i += 256 {
		t.heads[i] = head{}
	}
	return t, nil
}

// Config is what the table was made from, defaults filled in.
func (t *Table) Config() Config { return t.config }

// Stats may only be called where Duplicate may.
func (t *Table) Stats() Stats { return t.stats }

// Duplicate tells whether a frame that was stamped ns nanoseconds after 1970 was
// there before, and remembers it. A record with a later stamp does not count.
func (t *Table) Duplicate(f *ring.Frame, ns uint64) bool {
	p := t.find(f)
	return t.visit(&p, t.start(f), ns)
}

// chunk is how many frames' slots are on their way from memory at a time.
const chunk = 32

// place is where a frame's slot is.
type place struct {
	slot  uint64
	key   uint64
	check uint64
}

// Mark does for frames in order what Duplicate does for one, and is faster: it has
// their slots fetched together. dup[i] tells of frames[i]; stamps and dup are as long
// as frames. It returns how many are duplicates.
func (t *Table) Mark(frames []ring.Frame, stamps []clock.Stamp, dup []bool) int {
	n := 0
	for len(frames) > 0 {
		c := min(chunk, len(frames))
		n += t.mark(frames[:c], stamps[:c], dup[:c])
		frames, stamps, dup = frames[c:], stamps[c:], dup[c:]
	}
	return n
}

func (t *Table) mark(frames []ring.Frame, stamps []clock.Stamp, dup []bool) int {
	places := t.places[:len(frames)]
	for i := range frames {
		places[i] = t.find(&frames[i])
	}
	// Loads that nothing waits for, so that the misses overlap.
	sink := t.sink
	for i := range places {
		first := places[i].slot * t.pools
		sink += t.heads[first].check + t.heads[first+t.pools-1].check
	}
	t.sink = sink
	n := 0
	for i := range frames {
		ns := uint64(stamps[i].Sec())*1e9 + uint64(stamps[i].Nsec())
		dup[i] = t.visit(&places[i], t.start(&frames[i]), ns)
		if dup[i] {
			n++
		}
	}
	return n
}

// find computes a frame's slot.
func (t *Table) find(f *ring.Frame) place {
	key := keyOf(f)
	if t.index == IndexRSS {
		return place{slot: uint64(f.Hash) & t.mask, key: key, check: key}
	}
	hash := hashOf(key, t.start(f))
	return place{slot: hash & t.mask, key: key, check: hash | 1}
}

// keyOf is what is compared beside the bytes: the length, and the tag that is no
// longer among them. It is never 0.
func keyOf(f *ring.Frame) uint64 {
	const stored = 1 << 63
	key := stored | uint64(f.Len)
	if f.Info&(ring.Stripped|ring.HasVLAN) == ring.Stripped|ring.HasVLAN {
		key |= 1<<62 | uint64(f.VLAN)<<32
	}
	return key
}

// start is the first bytes of a frame, all of them if it is shorter.
func (t *Table) start(f *ring.Frame) []byte {
	n := min(t.bytes, int(f.Len))
	if len(f.Data) >= n {
		return f.Data[:n]
	}
	return t.gather(f, n)
}

// gather puts the first n bytes of a frame in several buffers together.
func (t *Table) gather(f *ring.Frame, n int) []byte {
	got := copy(t.scratch[:n], f.Data)
	for _, b := range f.Rest {
		got += copy(t.scratch[got:n], b)
	}
	return t.scratch[:got]
}

// visit looks for a frame in its slot and puts it there.
func (t *Table) visit(p *place, start []byte, ns uint64) bool {
	first := p.slot * t.pools
	heads := t.heads[first:][:t.pools]
	found, oldest := -1, uint64(0)
	for i := range heads {
		// A stamp in the future gives an age beyond any window, and so does an
		// empty record's. Age and index in one word are compared without a branch
		// that nobody could foretell.
		h := &heads[i]
		age := ns - h.ns
		oldest = max(oldest, min(age, maxAge)*maxPools|uint64(i))
		if h.check == p.check && age <= t.window && t.same(first+uint64(i), p.key, start) {
			found = i
		}
	}
	i := int(oldest % maxPools)
	if found >= 0 {
		t.stats.Duplicates++
		if t.index == IndexContent {
			i = found
		}
	}
	h := &heads[i]
	if found != i && h.check != 0 && ns-h.ns <= t.window {
		t.stats.Evicted++
	}
	h.ns, h.check = ns, p.check
	body := t.body(first + uint64(i))
	binary.LittleEndian.PutUint64(body, p.key)
	copy(body[keySize:], start)
	t.stats.Frames++
	return found >= 0
}

const (
	keySize = 8
	maxAge  = (1<<64 - 1) / maxPools // ns: 208 days; more counts as much
)

// body is a record's: the key and behind it the frame's first bytes.
func (t *Table) body(record uint64) []byte {
	return t.bodies[record*t.stride:][:t.stride]
}

// same tells whether a record is of a frame with that key and those first bytes. A
// key has the length, so as many bytes were stored.
func (t *Table) same(record, key uint64, start []byte) bool {
	body := t.body(record)
	return binary.LittleEndian.Uint64(body) == key && bytes.Equal(body[keySize:][:len(start)], start)
}
