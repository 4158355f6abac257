package sim

import (
	"fmt"
	"io"
	"strings"
)

// access is how a register answers reads and writes, in the datasheet's terms.
type access uint8

const (
	rw     access = iota // reads return what was written
	ro                   // writes are ignored
	rc                   // read to clear
	rcLow                // low word of a wide counter
	rcHigh               // high word; reading it clears both
	w1c                  // writing 1 clears the bit
	wo                   // reads as zero
	sc                   // read-write, with bits that the device clears or sets
)

func (a access) String() string {
	return [...]string{"RW", "RO", "RC", "RC", "RC", "RW1C", "WO", "RW"}[a]
}

// register is one row of the register table: one register, or an array of them.
// Names are those of the 82599 datasheet (rev 3.4, section 8.2.3), and section is
// the part of it that describes the register, where known.
type register struct {
	name    string
	blocks  []block
	access  access
	mask    uint32 // bits that software can write
	reset   uint32 // value after reset
	keep    bool   // survives a software reset (CTRL.RST)
	section string

	read  func(n *NIC, i int) uint32
	write func(n *NIC, i int, v uint32)
}

// block is a run of instances of a register at equal distances.
type block struct {
	off, stride uint32 // in BAR 0, bytes
	n           int    // instances
	first       int    // index of the first instance
	alias       bool   // a second address of instances that another block holds
}

func one(name string, off uint32, a access, reset uint32, section string) register {
	return many(name, off, 4, 1, a, reset, section)
}

func many(name string, off, stride uint32, n int, a access, reset uint32, section string) register {
	return register{
		name: name, blocks: []block{{off: off, stride: stride, n: n}},
		access: a, mask: 0xffffffff, reset: reset, section: section,
	}
}

// and adds a block of n further instances at another offset.
func (r register) and(off, stride uint32, n int) register {
	r.blocks = append(r.blocks, block{off: off, stride: stride, n: n, first: r.len()})
	return r
}

// alias adds a second address of the first n instances.
func (r register) alias(off, stride uint32, n int) register {
	r.blocks = append(r.blocks, block{off: off, stride: stride, n: n, alias: true})
	return r
}

// bits limits what software can write.
func (r register) bits(mask uint32) register { r.mask = mask; return r }

// kept marks a register that a software reset leaves alone.
func (r register) kept() register { r.keep = true; return r }

func (r register) onRead(f func(*NIC, int) uint32) register   { r.read = f; return r }
func (r register) onWrite(f func(*NIC, int, uint32)) register { r.write = f; return r }

// len is the number of instances.
func (r *register) len() (n int) {
	for _, b := range r.blocks {
		if !b.alias {
			n += b.n
		}
	}
	return n
}

// each yields the index and the offset of every instance, aliases left out.
func (r *register) each(yield func(i int, off uint32) bool) {
	for _, b := range r.blocks {
		for i := range b.n {
			if !b.alias && !yield(b.first+i, b.off+uint32(i)*b.stride) {
				return
			}
		}
	}
}

func (r *register) label(i int) string {
	if r.len() == 1 {
		return r.name
	}
	return fmt.Sprintf("%s[%d]", r.name, i)
}

// decoder finds the row and the instance of a BAR 0 offset. The slices are
// indexed by 32-bit word.
type decoder struct {
	rows  []register
	at    []uint16 // row + 1, 0 where no register is
	index []uint16 // instance
	canon []uint32 // the word that holds the value: aliases share one
}

// newDecoder builds the lookup tables. A name that is declared twice, and blocks
// that overlap, are errors.
func newDecoder(rows []register) (*decoder, error) {
	const words = bar0Size / 4
	d := &decoder{rows: rows, at: make([]uint16, words), index: make([]uint16, words), canon: make([]uint32, words)}
	names := map[string]bool{}
	for k := range rows {
		if names[rows[k].name] {
			return nil, fmt.Errorf("register %s is declared twice", rows[k].name)
		}
		names[rows[k].name] = true
		if err := d.add(k); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// add enters the blocks of row k.
func (d *decoder) add(k int) error {
	r := &d.rows[k]
	var words []uint32 // by instance
	for _, off := range r.each {
		words = append(words, off/4)
	}
	for _, b := range r.blocks {
		for i := range b.n {
			off, index := b.off+uint32(i)*b.stride, b.first+i
			w := off / 4
			switch {
			case off%4 != 0 || off >= bar0Size:
				return fmt.Errorf("register %s at %#x: outside BAR 0 or not aligned", r.label(index), off)
			case index >= len(words):
				return fmt.Errorf("register %s at %#x: alias of an instance that does not exist", r.label(index), off)
			case d.at[w] != 0:
				return fmt.Errorf("register %s at %#x overlaps %s", r.label(index), off, d.rows[d.at[w]-1].name)
			}
			d.at[w], d.index[w], d.canon[w] = uint16(k+1), uint16(index), words[index]
		}
	}
	return nil
}

// find returns the row and the instance of an offset, and the word that holds
// the value. The row is nil where no register is.
func (d *decoder) find(off uint32) (r *register, i int, word uint32) {
	w := off / 4
	k := d.at[w]
	if k == 0 {
		return nil, 0, w
	}
	return &d.rows[k-1], int(d.index[w]), d.canon[w]
}

// ReadRegister reads a BAR 0 register as the bus does, side effects included.
func (n *NIC) ReadRegister(off uint32) uint32 {
	n.lock()
	defer n.mu.Unlock()
	return n.load(off)
}

// WriteRegister writes a BAR 0 register as the bus does.
func (n *NIC) WriteRegister(off, v uint32) {
	n.lock()
	n.store(off, v)
	n.mu.Unlock()
	n.wake()
}

// load is a bus read of one register. n.mu is held.
func (n *NIC) load(off uint32) uint32 {
	if n.removed {
		return 0xffffffff
	}
	r, i, w := n.dec.find(off)
	if r == nil {
		return 0 // reserved space reads as zero
	}
	if r.read != nil {
		return r.read(n, i)
	}
	switch r.access {
	case wo:
		return 0
	case rc:
		return n.clearCounter(w)
	case rcLow:
		return n.readLow(w)
	case rcHigh:
		return n.clearWide(w)
	}
	return n.reg[w]
}

// store is a bus write of one register. n.mu is held.
func (n *NIC) store(off, v uint32) {
	if n.removed {
		return
	}
	r, i, w := n.dec.find(off)
	if r == nil {
		return
	}
	if r.write != nil {
		r.write(n, i, v)
		return
	}
	switch r.access {
	case ro, rc, rcLow, rcHigh:
	case w1c:
		n.reg[w] &^= v
	case wo:
	default:
		n.reg[w] = n.reg[w]&^r.mask | v&r.mask
		n.dirty = true
	}
}

// resetRegisters sets every register to its reset value. A software reset leaves
// those that only a power-on or function-level reset changes.
func (n *NIC) resetRegisters(software bool) {
	for k := range n.dec.rows {
		r := &n.dec.rows[k]
		if software && r.keep {
			continue
		}
		for _, off := range r.each {
			n.reg[off/4] = r.reset
		}
	}
	n.dirty = true
}

// DumpRegisters prints every register that is not at its reset value, or all of
// them, by name. It has no side effects.
func (n *NIC) DumpRegisters(w io.Writer, all bool) error {
	n.lock()
	defer n.mu.Unlock()
	var b strings.Builder
	for k := range n.dec.rows {
		r := &n.dec.rows[k]
		for i, off := range r.each {
			v := n.peek(r, i, off/4)
			if !all && v == r.reset {
				continue
			}
			fmt.Fprintf(&b, "%05x %-18s %-4s %08x  %s\n", off, r.label(i), r.access, v, r.section)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// peek is the value that a read would return, without the read's side effects.
func (n *NIC) peek(r *register, i int, w uint32) uint32 {
	switch {
	case r.access == wo:
		return 0
	case r.access == rc:
		return clamp32(n.ctr.v[w])
	case r.access == rcLow:
		return uint32(min(n.ctr.v[w], wideMax))
	case r.access == rcHigh:
		return uint32(min(n.ctr.v[w-1], wideMax) >> 32)
	case r.read != nil && r.access != sc:
		return r.read(n, i)
	}
	return n.reg[w]
}
