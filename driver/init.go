package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// init is the initialisation sequence of 4.6.3, a function per step.
func (p *Port) init() error {
	steps := []struct {
		name string
		do   func() error
	}{
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
		{"connect interrupts", p.connectInterrupts},             // 9, 4.6.3.1
	}
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
)

// enableFunction lets the function decode its registers and issue requests. The
// rings are not known to it yet, so it has none to make.
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

// disableInterrupts masks every cause and forgets those pending (4.6.3.1).
func (p *Port) disableInterrupts() error {
	p.store(reg.EIMC, 0x7fffffff)
	for i := range 2 {
		p.store(reg.EIMC_EX(i), 0xffffffff)
	}
	p.load(reg.EICR)
	return nil
}

// reset is the global reset of 4.6.3.2: both of software and of the link, after
// the bus has come to rest (5.2.5.3.2, master disable).
func (p *Port) reset() error {
	times := 1
	err := p.disableMaster()
	var stuck *WaitError
	if errors.As(err, &stuck) {
		// Requests stay pending when flow control or a link that is down holds
		// frames back. The remedy is to flush the data path and reset twice
		// (82599 specification update, clarification "Master Disable Flow").
		p.flushDataPath()
		times = 2
	} else if err != nil {
		return err
	}
	for range times {
		p.store(reg.CTRL, p.load(reg.CTRL)|reg.CTRL_RST.Mask()|reg.CTRL_LRST.Mask())
		if err := p.wait(reg.CTRL, time.Second, to(reg.CTRL_RST, 0), to(reg.CTRL_LRST, 0)); err != nil {
			return err
		}
		// The reset goes on for a while after the bits have cleared themselves.
		time.Sleep(10 * time.Millisecond)
	}
	if reg.CTRL_MASTER_DISABLE.Of(p.load(reg.CTRL)) != 0 {
		p.change(reg.CTRL, to(reg.CTRL_MASTER_DISABLE, 0))
	}
	return nil
}

// disableMaster stops the device from making requests on the bus and waits for
// those under way.
func (p *Port) disableMaster() error {
	p.change(reg.CTRL, to(reg.CTRL_MASTER_DISABLE, 1))
	return p.wait(reg.STATUS, 100*time.Millisecond, to(reg.STATUS_MASTER_ENABLE, 0))
}

// flushDataPath drops what is stuck in the device's buffers.
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

// configureGeneral is the rest of 4.6.3.2. Flow control is off: a monitor must
// never stop the sender. The manual wants its registers written even so.
func (p *Port) configureGeneral() error {
	p.change(reg.CTRL_EXT, to(reg.CTRL_EXT_DRV_LOAD, 1))
	for i := range 4 {
		p.store(reg.FCTTV(i), 0)
	}
	p.store(reg.FCRTV, 0)
	p.change(reg.FCCFG, to(reg.FCCFG_TFCE, 0))
	for i := range 8 {
		p.store(reg.FCRTL(i), 0)
		// The threshold must be set even with FCEN = 0, below the size of the
		// packet buffer by what may still be on its way (3.7.7.3.2).
		var high uint32
		if i == 0 {
			high = (rxPacketBuffer - 24) << 10 >> 5
		}
		p.store(reg.FCRTH(i), reg.FCRTH_RTH.Val(high))
	}
	// Pause frames of the other side are neither obeyed nor eaten: they are
	// frames on the wire and get stored like any other.
	p.change(reg.MFLCN,
		to(reg.MFLCN_PMCF, 1), to(reg.MFLCN_DPF, 0), to(reg.MFLCN_RPFCE, 0), to(reg.MFLCN_RFCE, 0))
	// Left out: LED control and wake-up, which stay as the EEPROM sets them.
	return nil
}

// waitEEPROM is step 3: the device loads its defaults from the EEPROM.
func (p *Port) waitEEPROM() error {
	return p.wait(reg.EEC, time.Second, to(reg.EEC_ARD, 1))
}

// waitDMA is step 4.
func (p *Port) waitDMA() error {
	return p.wait(reg.RDRXCTL, time.Second, to(reg.RDRXCTL_DMAIDONE, 1))
}

// readMAC takes the address the EEPROM left in the first receive address.
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
	defer p.stats.forget()
	return p.stats.read(p)
}

// halt stops all of the device's traffic, in whatever state it is, so that its
// memory can be taken away. It is also what Close does.
func (p *Port) halt() error {
	if p.err() != nil {
		return nil // it is gone and accesses memory no more
	}
	p.change(reg.RXCTRL, to(reg.RXCTRL_RXEN, 0))
	errs := []error{
		p.disableReceiveQueues(),
		p.disableTransmit(),
		// Whatever a queue's disabling has left, this ends.
		p.disableMaster(),
	}
	p.change(reg.CTRL_EXT, to(reg.CTRL_EXT_DRV_LOAD, 0))
	errs = append(errs, p.changeCommand(0, pciCommandMaster))
	if p.err() != nil {
		return nil
	}
	return errors.Join(errs...)
}
