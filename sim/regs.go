package sim

import (
	"fmt"
	"io"
	"strings"
)

// mode is how a register answers accesses, in the datasheet's terms.
type mode uint8

const (
	rw  mode = iota // reads back what was written
	ro              // writes are ignored
	rc              // read to clear
	rc2             // the two words of a wide counter; reading the high one clears both
	w1c             // writing 1 clears the bit
	wo              // reads as zero
	sc              // read-write with bits that the device itself clears or sets
)

func (m mode) String() string {
	return [...]string{"RW", "RO", "RC", "RC", "RW1C", "WO", "RW"}[m]
}

// register is one row of the register table: one register, or an array of
// them. Names are those of the 82599 datasheet (rev 3.4, section 8.2.3), and
// section is the part of it that has the register, where known.
type register struct {
	name    string
	off     uint32 // of the first instance in BAR 0
	stride  uint32
	n       int // instances
	first   int // index of the first instance: 64 where an array continues elsewhere
	mode    mode
	mask    uint32 // bits that software can write
	reset   uint32 // value after reset
	keep    bool   // survives a software reset (CTRL.RST)
	section string
	same    string // the row that this one is a second address of

	read  func(n *NIC, i int) uint32
	write func(n *NIC, i int, v uint32)
}

func one(name string, off uint32, m mode, reset uint32, section string) register {
	return many(name, off, 4, 1, m, reset, section)
}

func many(name string, off, stride uint32, n int, m mode, reset uint32, section string) register {
	return register{name: name, off: off, stride: stride, n: n, mode: m, mask: 0xffffffff, reset: reset, section: section}
}

// from sets the index of the row's first instance.
func (r register) from(first int) register { r.first = first; return r }

// bits limits what software can write.
func (r register) bits(mask uint32) register { r.mask = mask; return r }

// kept marks a register that a software reset leaves alone.
func (r register) kept() register { r.keep = true; return r }

// alias makes the row a second address of the row of the same name and index.
func (r register) alias() register { r.same = r.name; return r }

func (r register) onRead(f func(*NIC, int) uint32) register   { r.read = f; return r }
func (r register) onWrite(f func(*NIC, int, uint32)) register { r.write = f; return r }

func (r *register) label(i int) string {
	if r.n == 1 && r.first == 0 {
		return r.name
	}
	return fmt.Sprintf("%s[%d]", r.name, r.first+i)
}

// decoder finds the row and the instance that a BAR 0 offset belongs to.
type decoder struct {
	rows  []register
	at    []uint16 // by word: row + 1, 0 where no register is
	canon []uint32 // by word: the word that holds the value (aliases share one)
}

// newDecoder builds the lookup tables. Rows that overlap are an error.
func newDecoder(rows []register) (*decoder, error) {
	d := &decoder{rows: rows, at: make([]uint16, bar0Size/4), canon: make([]uint32, bar0Size/4)}
	type instance struct {
		name string
		i    int
	}
	home := map[instance]uint32{}
	for k := range rows {
		r := &rows[k]
		for i := range r.n {
			off := r.off + uint32(i)*r.stride
			if off%4 != 0 || off >= bar0Size {
				return nil, fmt.Errorf("register %s at %#x: outside BAR 0 or not aligned", r.label(i), off)
			}
			if was := d.at[off/4]; was != 0 {
				return nil, fmt.Errorf("register %s at %#x overlaps %s", r.label(i), off, rows[was-1].name)
			}
			d.at[off/4] = uint16(k + 1)
			d.canon[off/4] = off / 4
			if r.same == "" {
				key := instance{r.name, r.first + i}
				if _, twice := home[key]; twice {
					return nil, fmt.Errorf("register %s appears twice", r.label(i))
				}
				home[key] = off / 4
			}
		}
	}
	for k := range rows {
		r := &rows[k]
		for i := range r.n {
			if r.same == "" {
				continue
			}
			w, found := home[instance{r.same, r.first + i}]
			if !found {
				return nil, fmt.Errorf("register %s is an alias of nothing", r.label(i))
			}
			d.canon[(r.off+uint32(i)*r.stride)/4] = w
		}
	}
	return d, nil
}

// find returns the row and instance of an offset, nil where there is none. An
// alias is resolved: the row returned is the one that holds the value.
func (d *decoder) find(off uint32) (r *register, i int, word uint32) {
	word = d.canon[off/4]
	k := d.at[word]
	if d.at[off/4] == 0 || k == 0 {
		return nil, 0, off / 4
	}
	r = &d.rows[k-1]
	return r, int((word*4 - r.off) / r.stride), word
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
	n.kick()
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
		return r.read(n, r.first+i)
	}
	switch r.mode {
	case wo:
		return 0
	case rc:
		return n.takeCounter(w)
	case rc2:
		return n.takeWide(r, i, w)
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
		r.write(n, r.first+i, v)
		return
	}
	switch r.mode {
	case ro, rc, rc2:
	case w1c:
		n.reg[w] &^= v
	case wo:
	default:
		n.reg[w] = n.reg[w]&^r.mask | v&r.mask
		n.dirty = true
	}
}

// resetRegisters puts every register back to its reset value. A software reset
// leaves those that only a power-on or function-level reset changes.
func (n *NIC) resetRegisters(software bool) {
	for k := range n.dec.rows {
		r := &n.dec.rows[k]
		if r.same != "" || (software && r.keep) {
			continue
		}
		for i := range r.n {
			n.reg[(r.off+uint32(i)*r.stride)/4] = r.reset
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
		if r.same != "" {
			continue
		}
		for i := range r.n {
			off := r.off + uint32(i)*r.stride
			v := n.peek(r, i, off/4)
			if !all && v == r.reset {
				continue
			}
			fmt.Fprintf(&b, "%05x %-18s %-4s %08x  %s\n", off, r.label(i), r.mode, v, r.section)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// peek is the value a read would return, without the read's side effects.
func (n *NIC) peek(r *register, i int, w uint32) uint32 {
	switch {
	case r.mode == rc || r.mode == rc2 || r.mode == wo:
		return n.counterWord(r, i, w)
	case r.read != nil && r.mode != sc:
		return r.read(n, r.first+i)
	}
	return n.reg[w]
}
