package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// init is the initialisation sequence of 4.6.3, with a function per step.
func (p *Port) init() error {
	steps := []step{
		{"enable the function", p.enableFunction},
		{"disable interrupts", p.disableInterrupts},             // 1
		{"reset", p.reset},                                      // 2
		{"disable interrupts after reset", p.disableInterrupts}, // 2, 4.6.3.1
		{"general configuration", p.configureGeneral},           // 2, 4.6.3.2
		{"EEPROM auto-read", p.waitEEPROM},                      // 3
		{"check EEPROM", p.checkEEPROM},                         //
		{"DMA initialisation", p.waitDMA},                       // 4
		{"read the MAC address", p.readMAC},                     //
		{"find the module", p.findModule},                       //
		{"set up link", p.setupLink},                            // 5, 4.6.4
		{"clear statistics", p.clearStatistics},                 // 6, 4.6.5
		{"initialise receive", p.initReceive},                   // 7, 4.6.7
		{"initialise transmit", p.initTransmit},                 // 8, 4.6.8
		{"start the clock", p.startClock},                       // 7.9
		{"connect interrupts", p.connectInterrupts},             // 9, 4.6.3.1
		{"offer virtual functions", p.offerVFs},                 // 7.10
	}
	return p.run(steps)
}

// step is a step of the initialisation.
type step struct {
	name string
	do   func() error
}

func (p *Port) run(steps []step) error {
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if err := p.err(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// PCI configuration space: the command register.
const (
	pciCommand       = 0x04
	pciCommandMemory = 1 << 1
	pciCommandMaster = 1 << 2

	pciDeviceStatus        = 0xaa // of the PCI Express capability at 0xa0 (9.3.10)
	pciTransactionsPending = 1 << 5
)

// enableFunction enables register decoding and bus requests. The device has no rings
// yet, so it makes no requests.
func (p *Port) enableFunction() error {
	return p.changeCommand(pciCommandMemory|pciCommandMaster, 0)
}

func (p *Port) changeCommand(set, clear uint16) error {
	var b [2]byte
	if _, err := p.dev.Config().ReadAt(b[:], pciCommand); err != nil {
		return fmt.Errorf("read PCI command: %w", err)
	}
	old := binary.LittleEndian.Uint16(b[:])
	now := old&^clear | set
	if now == old {
		return nil
	}
	binary.LittleEndian.PutUint16(b[:], now)
	if _, err := p.dev.Config().WriteAt(b[:], pciCommand); err != nil {
		return fmt.Errorf("write PCI command: %w", err)
	}
	return nil
}

// disableInterrupts masks every cause and clears those pending (4.6.3.1).
func (p *Port) disableInterrupts() error {
	if p.virtual != nil {
		p.store(reg.VTEIMC, ^uint32(0))
		p.load(reg.VTEICR)
		return nil
	}
	p.store(reg.EIMC, 0x7fffffff)
	for i := range 2 {
		p.store(reg.EIMC_EX(i), 0xffffffff)
	}
	p.load(reg.EICR)
	return nil
}

// reset is the global reset of 4.6.3.2, software and link, after the device has
// completed its bus requests (5.2.5.3.2, master disable).
func (p *Port) reset() error {
	times := 1
	err := p.disableMaster()
	var stuck *WaitError
	if errors.As(err, &stuck) {
		// Requests stay pending if flow control or a link that is down blocks
		// frames. The remedy is to flush the data path and reset twice
		// (82599 specification update, clarification "Master Disable Flow").
		p.flushDataPath()
		times = 2
	} else if err != nil {
		return err
	}
	for range times {
		if err := p.resetOnce(); err != nil {
			return err
		}
	}
	if reg.CTRL_MASTER_DISABLE.Of(p.load(reg.CTRL)) != 0 {
		p.change(reg.CTRL, to(reg.CTRL_MASTER_DISABLE, 0))
	}
	return nil
}

// resetOnce resets software and link, on an X540 and X550 software only: the firmware sets
// up their link, and must not use the PHY at that time (Linux, ixgbe_reset_hw_X540).
func (p *Port) resetOnce() (err error) {
	bits, rest := reg.CTRL_RST.Mask()|reg.CTRL_LRST.Mask(), 10*time.Millisecond
	if p.model.family != family82599 {
		bits, rest = reg.CTRL_RST.Mask(), 100*time.Millisecond
		release, failed := p.acquire(p.phyResource())
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	p.store(reg.CTRL, p.load(reg.CTRL)|bits)
	if err := p.wait(reg.CTRL, time.Second, to(reg.CTRL_RST, 0), to(reg.CTRL_LRST, 0)); err != nil {
		return err
	}
	// The reset continues for some time after the bits are clear.
	time.Sleep(rest)
	return nil
}

// masterLimit is how long bus requests may take to end.
const masterLimit = 100 * time.Millisecond

// disableMaster disables the device's bus requests and waits for those pending, in the MAC
// (STATUS) and in the PCI Express block (Device Status; Linux, ixgbe_disable_pcie_master).
func (p *Port) disableMaster() error {
	p.change(reg.CTRL, to(reg.CTRL_MASTER_DISABLE, 1))
	if err := p.wait(reg.STATUS, masterLimit, to(reg.STATUS_MASTER_ENABLE, 0)); err != nil {
		return err
	}
	for begin := time.Now(); ; time.Sleep(100 * time.Microsecond) {
		spent := time.Since(begin)
		var b [2]byte
		if _, err := p.dev.Config().ReadAt(b[:], pciDeviceStatus); err != nil {
			return fmt.Errorf("read PCI device status: %w", err)
		}
		v := binary.LittleEndian.Uint16(b[:])
		switch {
		case v&pciTransactionsPending == 0:
			return nil
		case v == 0xffff && p.err() != nil:
			return p.err()
		case spent > masterLimit:
			return &WaitError{Register: "PCI device status.TRANSACTIONS_PENDING", Offset: pciDeviceStatus,
				Mask: pciTransactionsPending, Last: uint32(v), After: masterLimit}
		}
	}
}

// flushDataPath drops the content of the device's buffers.
func (p *Port) flushDataPath() {
	p.change(reg.RXCTRL, to(reg.RXCTRL_RXEN, 0))
	p.change(reg.HLREG0, to(reg.HLREG0_LPBK, 1))
	p.flush()
	time.Sleep(3 * time.Millisecond)
	p.change(reg.GCR_EXT, to(reg.GCR_EXT_BUFFERS_CLEAR, 1))
	p.flush()
	time.Sleep(20 * time.Microsecond)
	p.change(reg.GCR_EXT, to(reg.GCR_EXT_BUFFERS_CLEAR, 0))
	p.change(reg.HLREG0, to(reg.HLREG0_LPBK, 0))
	p.flush()
}

// configureGeneral is the rest of 4.6.3.2. Flow control is off, because a monitor must
// never pause the sender; the datasheet requires its registers to be written anyway.
func (p *Port) configureGeneral() error {
	p.change(reg.CTRL_EXT, to(reg.CTRL_EXT_DRV_LOAD, 1))
	for i := range 4 {
		p.store(reg.FCTTV(i), 0)
	}
	p.store(reg.FCRTV, 0)
	p.change(reg.FCCFG, to(reg.FCCFG_TFCE, 0))
	for i := range 8 {
		p.store(reg.FCRTL(i), 0)
		// The threshold must be set even with FCEN = 0, to the size of the packet
		// buffer minus what may arrive before a pause takes effect (3.7.7.3.2).
		var high uint32
		if i == 0 {
			high = uint32(p.packetBuffer()-24) << 10 >> 5
		}
		p.store(reg.FCRTH(i), reg.FCRTH_RTH.Val(high))
	}
	// Received pause frames have no effect and are not discarded: they are frames on
	// the wire and delivered like any other.
	p.change(reg.MFLCN,
		to(reg.MFLCN_PMCF, 1), to(reg.MFLCN_DPF, 0), to(reg.MFLCN_RPFCE, 0), to(reg.MFLCN_RFCE, 0))
	// LED control and wake-up stay as the EEPROM sets them.
	return nil
}

// waitEEPROM is step 3: the device has loaded its defaults from the EEPROM.
func (p *Port) waitEEPROM() error {
	return p.wait(reg.EEC, time.Second, to(reg.EEC_ARD, 1))
}

// waitDMA is step 4: the receive DMA is initialised.
func (p *Port) waitDMA() error {
	return p.wait(reg.RDRXCTL, time.Second, to(reg.RDRXCTL_DMAIDONE, 1))
}

// readMAC reads the address that the EEPROM has loaded into receive address 0.
func (p *Port) readMAC() error {
	low, high := p.load(reg.RAL(0)), p.load(reg.RAH(0))
	mac := make(net.HardwareAddr, 6)
	binary.LittleEndian.PutUint32(mac, low)
	binary.LittleEndian.PutUint16(mac[4:], uint16(high))
	if reg.RAH_AV.Of(high) == 0 || mac[0]&1 != 0 {
		return fmt.Errorf("%s %#08x, %s %#08x: %s is no valid address", reg.RAL(0).Name(), low, reg.RAH(0).Name(), high, mac)
	}
	p.mac = mac
	return nil
}

// clearStatistics is step 6 (4.6.5): the counters clear when read.
func (p *Port) clearStatistics() error {
	p.mapStatistics()
	p.stats.reset()
	defer p.stats.reset()
	return p.stats.read(p, counterTable)
}

// halt stops all bus traffic of the device, in any state, so that its memory can be
// unmapped.
func (p *Port) halt() error {
	if p.err() != nil {
		return nil // a device that is gone accesses no memory
	}
	if p.virtual != nil {
		return p.haltVirtual()
	}
	p.revokeVFs()
	p.change(reg.RXCTRL, to(reg.RXCTRL_RXEN, 0))
	errs := []error{p.disableReceiveQueues(), p.disableTransmit()}
	// Ends also what disabling the queues has not.
	pending := p.disableMaster()
	if pending != nil {
		p.flushDataPath()
	}
	p.change(reg.CTRL_EXT, to(reg.CTRL_EXT_DRV_LOAD, 0))
	errs = append(errs, p.changeCommand(0, pciCommandMaster))
	// A function-level reset ends requests that the device could not, and leaves nothing of
	// this driver to the next one. Without pending requests the memory is safe without it:
	// not every function and kernel has one.
	if err := p.dev.Reset(); err != nil && pending != nil {
		errs = append(errs, fmt.Errorf("%w; reset the function: %w", pending, err))
	}
	if p.err() != nil {
		return nil
	}
	return errors.Join(errs...)
}
