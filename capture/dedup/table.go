package dedup

import (
	"bytes"
	"encoding/binary"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// Table is a table of recent frames. It is used by one goroutine at a time.
type Table struct {
	heads  []head // of all records, slot after slot
	bodies []byte // of all records
	window uint64 // ns
	mask   uint64 // slots - 1
	pools  uint64
	stride uint64 // bytes of a body
	bytes  int
	index  Index

	stats     Stats
	locations [chunk]location
	scratch   []byte // first bytes of a frame in several buffers
	sink      uint64
	config    Config
}

// head is the part of a record that a search reads. The heads of a slot lie
// together, four on a cache line.
type head struct {
	ns    uint64 // since 1970
	check uint64 // hash of the content, or the key with IndexRSS; 0: empty
}

// Stats are a table's counters.
type Stats struct {
	Frames     uint64 `json:"frames"`
	Duplicates uint64 `json:"duplicates"`
	// Evicted records were younger than the window when another frame replaced them;
	// later copies of these frames are missed. If that is more than a few percent of
	// the frames, the table is too small.
	Evicted uint64 `json:"evicted"`
}

// New returns a table. A record takes 144 bytes at 96 bytes compared, so the default
// table takes 4.5 MiB. New touches all of it, so that no page faults occur later.
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
	// Touch every page.
	for i := 0; i < len(t.bodies); i += 4096 {
		t.bodies[i] = 0
	}
	for i := 0; i < len(t.heads); i += 256 {
		t.heads[i] = head{}
	}
	return t, nil
}

// Config returns the settings with the defaults filled in.
func (t *Table) Config() Config { return t.config }

// Stats returns the counters. It is called by the table's goroutine only.
func (t *Table) Stats() Stats { return t.stats }

// Duplicate reports whether a frame, stamped ns nanoseconds after 1970, is a
// duplicate, and stores it. Records with later stamps are ignored.
func (t *Table) Duplicate(f *ring.Frame, ns uint64) bool {
	p := t.locate(f)
	return t.update(&p, t.prefix(f), ns)
}

// chunk is the number of frames whose slots are loaded at a time.
const chunk = 32

// location is a frame's slot and the words to compare.
type location struct {
	slot  uint64
	key   uint64
	check uint64
}

// Mark calls Duplicate for frames in order, but is faster: it loads their slots
// together. It sets dup[i] if frames[i] is a duplicate and returns the number of
// duplicates. stamps and dup are as long as frames.
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
	locations := t.locations[:len(frames)]
	for i := range frames {
		locations[i] = t.locate(&frames[i])
	}
	// Independent loads, so that the cache misses overlap.
	sink := t.sink
	for i := range locations {
		first := locations[i].slot * t.pools
		sink += t.heads[first].check + t.heads[first+t.pools-1].check
	}
	t.sink = sink
	n := 0
	for i := range frames {
		ns := uint64(stamps[i].Sec())*1e9 + uint64(stamps[i].Nsec())
		dup[i] = t.update(&locations[i], t.prefix(&frames[i]), ns)
		if dup[i] {
			n++
		}
	}
	return n
}

// locate computes a frame's slot.
func (t *Table) locate(f *ring.Frame) location {
	key := keyOf(f)
	if t.index == IndexRSS {
		return location{slot: uint64(f.Hash) & t.mask, key: key, check: key}
	}
	hash := hashOf(key, t.prefix(f))
	return location{slot: hash & t.mask, key: key, check: hash | 1}
}

// keyOf returns what is compared besides the bytes: the length, and a tag that was
// stripped. It is never 0.
func keyOf(f *ring.Frame) uint64 {
	const stored = 1 << 63
	key := stored | uint64(f.Len)
	if f.Info&(ring.Stripped|ring.HasVLAN) == ring.Stripped|ring.HasVLAN {
		key |= 1<<62 | uint64(f.VLAN)<<32
	}
	return key
}

// prefix returns the bytes of a frame that are compared.
func (t *Table) prefix(f *ring.Frame) []byte {
	n := min(t.bytes, int(f.Len))
	if len(f.Data) >= n {
		return f.Data[:n]
	}
	return t.assemble(f, n)
}

// assemble copies the first n bytes of a multi-descriptor frame.
func (t *Table) assemble(f *ring.Frame, n int) []byte {
	got := copy(t.scratch[:n], f.Data)
	for _, b := range f.Rest {
		got += copy(t.scratch[got:n], b)
	}
	return t.scratch[:got]
}

// update reports whether a frame is in its slot, and stores it there.
func (t *Table) update(p *location, prefix []byte, ns uint64) bool {
	first := p.slot * t.pools
	heads := t.heads[first:][:t.pools]
	found, oldest := -1, uint64(0)
	for i := range heads {
		// A stamp in the future has an age beyond any window, and so has an empty
		// record. Age and index in one word are compared without a branch, which
		// the processor could not predict.
		h := &heads[i]
		age := ns - h.ns
		oldest = max(oldest, min(age, maxAge)*maxPools|uint64(i))
		if h.check == p.check && age <= t.window && t.matches(first+uint64(i), p.key, prefix) {
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
	copy(body[keySize:], prefix)
	t.stats.Frames++
	return found >= 0
}

const (
	keySize = 8
	maxAge  = (1<<64 - 1) / maxPools // ns: 208 days; higher ages count as this
)

// body returns a record's body: the key, then the frame's first bytes.
func (t *Table) body(record uint64) []byte {
	return t.bodies[record*t.stride:][:t.stride]
}

// matches reports whether a record has this key and these first bytes. The key
// contains the length, so as many bytes were stored.
func (t *Table) matches(record, key uint64, prefix []byte) bool {
	body := t.body(record)
	return binary.LittleEndian.Uint64(body) == key && bytes.Equal(body[keySize:][:len(prefix)], prefix)
}
