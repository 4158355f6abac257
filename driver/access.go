package driver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

func (p *Port) load(r reg.Register) uint32     { return p.regs.Load32(uint32(r.Offset)) }
func (p *Port) store(r reg.Register, v uint32) { p.regs.Store32(uint32(r.Offset), v) }

// fieldValue is a field of a register and the value it is to have.
type fieldValue struct {
	field reg.Field
	value uint32
}

func to(f reg.Field, v uint32) fieldValue { return fieldValue{f, v} }

// bit is the value of a field of one bit.
func bit(on bool) uint32 {
	if on {
		return 1
	}
	return 0
}

// merge returns the bits of several fields of r and their value. It panics if a
// field is not one of r.
func merge(r reg.Register, fields []fieldValue) (mask, value uint32) {
	for _, f := range fields {
		if !f.field.In(r) {
			panic(fmt.Sprintf("driver: %s is no field of %s", f.field, r.Name()))
		}
		mask |= f.field.Mask()
		value |= f.field.Val(f.value)
	}
	return mask, value
}

// change stores fields of a register and leaves the others as they are.
func (p *Port) change(r reg.Register, fields ...fieldValue) {
	mask, value := merge(r, fields)
	p.store(r, p.load(r)&^mask|value)
}

// flush makes sure that earlier stores have reached the device: the device
// answers a read only after them.
func (p *Port) flush() { p.load(reg.STATUS) }

// quitting reports whether Close has begun.
func (p *Port) quitting() bool {
	select {
	case <-p.quit:
		return true
	default:
		return false
	}
}

// ErrGone is the error of a device that has left the bus before its transport
// noticed, such as a card that was pulled out.
var ErrGone = errors.New("device has left the bus: its registers read as all ones")

// err returns why the device is gone, nil while it is present.
func (p *Port) err() error {
	// STATUS has reserved bits that are 0. The transport may notice by this load
	// that the device is gone, so its error is read afterwards.
	gone := p.load(reg.STATUS) == ^uint32(0)
	if err := p.dev.Err(); err != nil {
		return err
	}
	if gone {
		return ErrGone
	}
	return nil
}

// WaitError is the error of a register whose bits did not reach a value in time.
type WaitError struct {
	Register string // with its fields, such as "RXDCTL[0].ENABLE"
	Offset   uint32 // of the register in BAR 0, in bytes
	Mask     uint32 // bits waited for
	Want     uint32 // their value
	Last     uint32 // the register's last value
	After    time.Duration
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("wait for %s: bits %#x are %#x after %v, want %#x (register at %#05x, last value %#08x)",
		e.Register, e.Mask, e.Last&e.Mask, e.After, e.Want, e.Offset, e.Last)
}

// waitName is a register with the fields waited for.
func waitName(r reg.Register, fields []fieldValue) string {
	name := r.Name()
	separator := "."
	for _, f := range fields {
		name += separator + f.field.Name
		separator = "|"
	}
	return name
}

// wait polls a register until all fields have their value. A device that has left
// the bus reads as all ones, which is not taken for the value.
func (p *Port) wait(r reg.Register, limit time.Duration, fields ...fieldValue) error {
	mask, want := merge(r, fields)
	begin := time.Now()
	pause := 10 * time.Microsecond
	for {
		// The time is read before the register, so that the last load is one at the end.
		spent := time.Since(begin)
		v := p.load(r)
		if v == ^uint32(0) || spent >= limit {
			if err := p.err(); err != nil {
				return fmt.Errorf("wait for %s: %w", waitName(r, fields), err)
			}
		}
		if v&mask == want {
			return nil
		}
		if spent >= limit {
			return waitError(r, limit, v, fields...)
		}
		time.Sleep(pause)
		pause = min(2*pause, time.Millisecond)
	}
}

func waitError(r reg.Register, after time.Duration, last uint32, fields ...fieldValue) *WaitError {
	mask, want := merge(r, fields)
	return &WaitError{Register: waitName(r, fields), Offset: uint32(r.Offset), Mask: mask, Want: want, Last: last, After: after}
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
	table := reg.Table
	if p.virtual != nil {
		table = reg.VirtualTable
	}
	for _, row := range table {
		if !row.Access.Readable() {
			continue
		}
		for i := range p.inUse(row) {
			r := row.At(i)
			all = append(all, Register{r.Name(), uint32(r.Offset), p.load(r), row.Section})
		}
	}
	return all
}

// inUse returns how many elements of a row the port uses.
func (p *Port) inUse(row *reg.Row) int {
	switch row.Use {
	case reg.First:
		return 1
	case reg.OfX550:
		if p.model.family != familyX550 {
			return 0
		}
	case reg.PerQueue:
		return max(len(p.rx), len(p.tx))
	case reg.PerQueuePair:
		return (len(p.rx) + 1) / 2
	case reg.PerVector:
		return len(p.rx) + 1
	}
	return row.N()
}

// String returns a line per register: offset, value, name, section.
func (r Registers) String() string {
	var b strings.Builder
	for _, x := range r {
		fmt.Fprintf(&b, "%05x  %08x  %-14s %s\n", x.Offset, x.Value, x.Name, x.Section)
	}
	return b.String()
}
