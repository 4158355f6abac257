package drivertest

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/dma/dmatest"
	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/pci"
)

// Device is a PCI function that answers like an 82599 during initialisation: the waits
// of the sequence end, the EEPROM has a valid checksum, queues can be enabled. It has
// no traffic. Its fields may be set before use.
type Device struct {
	// Identity; NewDevice sets that of an 82599ES.
	Identity pci.ID
	Kind     string // transport

	// Mapper has the DMA mappings; those left at the end have leaked.
	Mapper dmatest.Mapper

	// BARErr is the error of BAR, ConfigErr that of all accesses to configuration space.
	BARErr, ConfigErr error

	// BARSize of BAR 0 in bytes, default 128 KiB.
	BARSize int64

	// Stuck has registers that read as a constant, unaffected by stores and by the
	// device.
	Stuck map[reg.Register]uint32

	// MSIX is the number of vectors; those in Dead never fire. VectorErr is the error
	// of SetVectors.
	MSIX      int
	Dead      map[int]bool
	VectorErr error

	// ResetErr is the error of Reset.
	ResetErr error

	// GoneAfter, if not 0, is the number of register accesses after which the device
	// leaves the bus.
	GoneAfter int

	mu       sync.Mutex
	regs     [128 << 10 / 4]uint32
	eeprom   [0x100]uint16
	config   [256]byte
	irq      interrupts
	accesses int
	order    []string // names of registers in the order of the stores
	err      error
	done     chan struct{}
}

// ErrGone is the error of a Device that has left the bus.
var ErrGone = errors.New("drivertest: device has been removed")

var _ pci.Device = (*Device)(nil)

// NewDevice returns a device without faults.
func NewDevice() *Device {
	d := &Device{
		Identity: pci.ID{Vendor: 0x8086, Device: 0x10fb, Class: 0x020000, Revision: 1},
		Kind:     "vfio-user",
		BARSize:  128 << 10,
		Stuck:    map[reg.Register]uint32{},
		Dead:     map[int]bool{},
		done:     make(chan struct{}),
	}
	for i := range d.eeprom {
		d.eeprom[i] = 0xffff
	}
	for i := range 0x40 {
		d.eeprom[i] = uint16(i * 0x101)
	}
	for i := 3; i < 0x10; i++ {
		d.eeprom[i] = 0xffff
	}
	d.eeprom[0x2b] = 0xffff // no settings for modules
	d.eeprom[5] = 0x80      // one section of three words
	copy(d.eeprom[0x80:], []uint16{3, 0x1111, 0x2222, 0x3333})
	d.SealEEPROM()
	d.reset()
	return d
}

// SealEEPROM sets the EEPROM's checksum.
func (d *Device) SealEEPROM() {
	var sum uint16
	for _, w := range d.eeprom[:0x3f] {
		sum += w
	}
	for _, w := range d.eeprom[0x81:0x84] {
		sum += w
	}
	d.eeprom[0x3f] = 0xbaba - sum
}

// BreakEEPROM changes a word and not the checksum.
func (d *Device) BreakEEPROM() { d.eeprom[0x20]++ }

// Accesses returns the number of register accesses so far.
func (d *Device) Accesses() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.accesses
}

// Stores returns the names of the registers stored to, in order.
func (d *Device) Stores() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.order...)
}

// Value returns a register's value, without side effects.
func (d *Device) Value(r reg.Register) uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return *d.at(r)
}

// Set sets a register, without side effects.
func (d *Device) Set(r reg.Register, v uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*d.at(r) = v
}

// at returns the place of a register's value.
func (d *Device) at(r reg.Register) *uint32 { return &d.regs[r.Offset/4] }

// BusMaster reports whether the function may make bus requests.
func (d *Device) BusMaster() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.config[4]&4 != 0
}

func (d *Device) reset() {
	clear(d.regs[:])
	*d.at(reg.EEC) = reg.EEC_ARD.Val(1) | reg.EEC_PRES.Val(1)
	*d.at(reg.RDRXCTL) = reg.RDRXCTL_DMAIDONE.Val(1) | reg.RDRXCTL_RSCFRSTSIZE.Val(8)
	*d.at(reg.SECRXSTAT) = reg.SECRXSTAT_SECRX_RDY.Val(1)
	*d.at(reg.RAL(0)) = 0x33221102
	*d.at(reg.RAH(0)) = 0x5544 | reg.RAH_AV.Val(1)
	*d.at(reg.LINKS) = reg.LINKS_LINK_UP.Val(1) | reg.LINKS_LINK_SPEED.Val(3)
	*d.at(reg.MAXFRS) = reg.MAXFRS_MFS.Val(1518)
	for q := range 16 {
		*d.at(reg.DCA_RXCTRL(q)) = reg.DCA_RXCTRL_RESERVED.Val(1)
	}
}

// Remove removes the device from the bus.
func (d *Device) Remove() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(ErrGone)
}

func (d *Device) remove(err error) {
	if d.err == nil {
		d.err = err
		close(d.done)
	}
}

// access counts a register access and reports whether the device is present.
func (d *Device) access() bool {
	if d.accesses++; d.GoneAfter > 0 && d.accesses > d.GoneAfter {
		d.remove(ErrGone)
	}
	return d.err == nil
}

func (d *Device) load(off uint32) uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.access() {
		return ^uint32(0)
	}
	r, _ := d.register(off)
	if v, ok := d.Stuck[r]; ok {
		return v
	}
	v := d.regs[off/4]
	switch r {
	case reg.SWSM:
		*d.at(r) |= reg.SWSM_SMBI.Val(1) // acquired by the read that returns 0
	case reg.EICR, reg.EICS:
		return uint32(d.irq.causes)&0xffff | d.irq.others
	}
	return v
}

func (d *Device) store(off uint32, v uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.access() {
		return
	}
	r, known := d.register(off)
	if known {
		d.order = append(d.order, r.Row().Name)
	} else {
		d.order = append(d.order, "")
	}
	if _, ok := d.Stuck[r]; ok {
		return
	}
	d.regs[off/4] = v
	d.interruptStore(r, v)
	switch r {
	case reg.CTRL:
		if v&(reg.CTRL_RST.Mask()|reg.CTRL_LRST.Mask()) != 0 {
			d.reset()
		}
	case reg.I2CCTL: // both lines are pulled up, and no module pulls them down
		*d.at(r) |= v >> 1 & 5
	case reg.EERD:
		word := reg.EERD_ADDR.Of(v)
		*d.at(r) = reg.EERD_DONE.Val(1) | reg.EERD_DATA.Val(uint32(d.eeprom[word%uint32(len(d.eeprom))]))
	}
}

// registers are the driver's registers by offset, virtualRegisters those of a virtual
// function, whose receive queues have the same.
var (
	registers        = byOffset(reg.Table)
	virtualRegisters = byOffset(reg.Table, reg.VirtualTable)
)

func byOffset(tables ...[]*reg.Row) map[reg.Offset]reg.Register {
	m := map[reg.Offset]reg.Register{}
	for _, row := range slices.Concat(tables...) {
		for i := range row.N() {
			r := row.At(i)
			m[r.Offset] = r
		}
	}
	return m
}

// register returns the register at an offset.
func (d *Device) register(off uint32) (r reg.Register, known bool) {
	table := registers
	if d.Identity.Device == 0x10ed {
		table = virtualRegisters
	}
	r, known = table[reg.Offset(off)]
	return r, known
}

// The methods of pci.Device, with those in interrupt.go.

func (d *Device) Name() string      { return "fake:82599" }
func (d *Device) Transport() string { return d.Kind }
func (d *Device) ID() pci.ID        { return d.Identity }
func (d *Device) NUMANode() int     { return -1 }
func (d *Device) Config() pci.Region {
	return configSpace{d}
}
func (d *Device) BAR(n int) (pci.Region, error) {
	if d.BARErr != nil {
		return nil, d.BARErr
	}
	if n != 0 {
		return nil, fmt.Errorf("BAR %d: does not exist", n)
	}
	return bar0{d}, nil
}
func (d *Device) DMA() dma.Mapper { return &d.Mapper }
func (d *Device) Reset() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ResetErr == nil {
		d.reset()
	}
	return d.ResetErr
}
func (d *Device) Done() <-chan struct{} { return d.done }
func (d *Device) Err() error            { d.mu.Lock(); defer d.mu.Unlock(); return d.err }
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(errors.New("drivertest: device is closed"))
	return nil
}

type bar0 struct{ d *Device }

func (b bar0) Size() int64                       { return b.d.BARSize }
func (b bar0) Load32(off uint32) uint32          { return b.d.load(off) }
func (b bar0) Store32(off uint32, v uint32)      { b.d.store(off, v) }
func (b bar0) ReadAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (b bar0) WriteAt([]byte, int64) (int, error) {
	return 0, errors.ErrUnsupported
}

type configSpace struct{ d *Device }

func (c configSpace) Size() int64          { return int64(len(c.d.config)) }
func (c configSpace) Load32(uint32) uint32 { panic("drivertest: use ReadAt for configuration space") }
func (c configSpace) Store32(uint32, uint32) {
	panic("drivertest: use WriteAt for configuration space")
}
func (c configSpace) ReadAt(p []byte, off int64) (int, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.d.ConfigErr != nil {
		return 0, c.d.ConfigErr
	}
	if off < 0 || off+int64(len(p)) > int64(len(c.d.config)) {
		return 0, io.EOF
	}
	return copy(p, c.d.config[off:]), nil
}
func (c configSpace) WriteAt(p []byte, off int64) (int, error) {
	c.d.mu.Lock()
	defer c.d.mu.Unlock()
	if c.d.ConfigErr != nil {
		return 0, c.d.ConfigErr
	}
	if off < 0 || off+int64(len(p)) > int64(len(c.d.config)) {
		return 0, io.ErrShortWrite
	}
	return copy(c.d.config[off:], p), nil
}
