package driver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

func (p *Port) load(o reg.Offset) uint32     { return p.regs.Load32(uint32(o)) }
func (p *Port) store(o reg.Offset, v uint32) { p.regs.Store32(uint32(o), v) }

// change stores fields of a register and leaves the others as they are.
func (p *Port) change(o reg.Offset, set ...fieldValue) {
	v := p.load(o)
	for _, s := range set {
		v = s.field.Set(v, s.value)
	}
	p.store(o, v)
}

type fieldValue struct {
	field reg.Field
	value uint32
}

func to(f reg.Field, v uint32) fieldValue { return fieldValue{f, v} }

// flush makes sure that earlier stores have reached the device: a read is not
// answered before them.
func (p *Port) flush() { p.load(reg.STATUS) }

// ErrGone is the error of a device that has left the bus while its transport
// has not noticed: a card pulled out, say.
var ErrGone = errors.New("device has left the bus: its registers read as all ones")

// err tells whether the device is gone, and why.
func (p *Port) err() error {
	// STATUS has reserved bits that are 0. It may be this load by which the
	// transport notices, so it is asked afterwards.
	gone := p.load(reg.STATUS) == ^uint32(0)
	if err := p.dev.Err(); err != nil {
		return err
	}
	if gone {
		return ErrGone
	}
	return nil
}

// WaitError says which register did not get to where it should in time.
type WaitError struct {
	Register string
	Offset   uint32 // of the register in BAR 0, in bytes
	Mask     uint32 // bits waited for
	Want     uint32 // their value
	Last     uint32 // the register's last value
	After    time.Duration
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("%s & %#x is not %#x after %v: last value %#08x (register at %#05x)", e.Register, e.Mask, e.Want, e.After, e.Last, e.Offset)
}

// wait polls a register until the bits of mask are want. A device that has gone
// away reads as all ones, so its word is not taken for it.
func (p *Port) wait(name string, o reg.Offset, mask, want uint32, limit time.Duration) error {
	begin := time.Now()
	pause := 10 * time.Microsecond
	for {
		// The time is taken before the look, so that the last look is one at the end.
		spent := time.Since(begin)
		v := p.load(o)
		if v == ^uint32(0) || spent >= limit {
			if err := p.err(); err != nil {
				return fmt.Errorf("wait for %s: %w", name, err)
			}
		}
		if v&mask == want {
			return nil
		}
		if spent >= limit {
			return &WaitError{Register: name, Offset: uint32(o), Mask: mask, Want: want, Last: v, After: limit}
		}
		time.Sleep(pause)
		pause = min(2*pause, time.Millisecond)
	}
}

// Register is one register's value.
type Register struct {
	Name    string
	Offset  uint32 // bytes into BAR 0
	Value   uint32
	Section string // of the datasheet, where it is described
}

// Registers is a dump of a port's registers.
type Registers []Register

// Registers reads all registers the driver uses, those of the queues in use
// included, except those whose reading has an effect (statistics, semaphores).
func (p *Port) Registers() Registers {
	var all Registers
	if p.gone.Load() {
		return nil
	}
	for _, row := range reg.Table() {
		if !row.Access.Readable() {
			continue
		}
		n := row.N
		if row.Queues {
			n = max(len(p.rx), len(p.tx))
		}
		switch row.Name { // the others are unused
		case "RAL", "RAH":
			n = 1
		case "IVAR":
			n = (len(p.rx) + 1) / 2
		case "EITR":
			n = len(p.rx) + 1
		}
		for i := range n {
			name := row.Name
			if row.N > 1 {
				name = fmt.Sprintf("%s[%d]", name, i)
			}
			at := row.At(i)
			all = append(all, Register{name, uint32(at), p.load(at), row.Section})
		}
	}
	return all
}

// String has a line per register: offset, value, name, section.
func (r Registers) String() string {
	var b strings.Builder
	for _, x := range r {
		fmt.Fprintf(&b, "%05x  %08x  %-14s %s\n", x.Offset, x.Value, x.Name, x.Section)
	}
	return b.String()
}
