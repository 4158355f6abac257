package driver

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

const (
	rxPacketBuffer   = 512 // KiB of the receive packet buffer of an 82599 (3.7.7.3.2)
	packetBufferStep = 16  // bytes: a frame in it takes a multiple of them
)

// initReceive is step 7 (4.6.7) without enabling queues and reception, which Start
// does. After a reset it is run again over the memory of the queues.
func (p *Port) initReceive() error {
	p.change(reg.RXCTRL, to(reg.RXCTRL_RXEN, 0))
	p.setFilters()
	p.setPacketBuffer()
	p.setReceiveMAC()
	p.setOffloads()
	p.storeRSS(p.cfg.RSS)
	p.setPools()
	if err := p.initFlowDirector(); err != nil {
		return err
	}
	for i := range p.cfg.Queues {
		if i < len(p.rx) {
			p.storeRing(i)
		} else if err := p.newRx(i); err != nil {
			return fmt.Errorf("receive queue %d: %w", i, err)
		}
		p.setReceiveQueue(i)
	}
	// 4.6.7, end: no "no snoop" requests, and a bit of DCA_RXCTRL that reads 1
	// but must be written 0.
	p.change(reg.CTRL_EXT, to(reg.CTRL_EXT_NS_DIS, 1))
	for i := range p.cfg.Queues {
		p.change(reg.DCA_RXCTRL(p.hw(i)), to(reg.DCA_RXCTRL_RESERVED, 0))
	}
	return nil
}

// setFilters accepts all frames. It does not write the tables of addresses, multicast
// hashes, VLANs and pools (MTA, PFUTA, VFTA, PFVLVF ...), which are random after
// power-up but not used by a promiscuous port, nor the queue filters (ETQF, FTQF,
// SYNQF, flow director), which are off after reset.
func (p *Port) setFilters() {
	p.change(reg.FCTRL,
		to(reg.FCTRL_UPE, 1), to(reg.FCTRL_MPE, 1), to(reg.FCTRL_BAM, 1), to(reg.FCTRL_SBP, bit(p.cfg.KeepBad)))
	p.change(reg.VLNCTRL, to(reg.VLNCTRL_VFE, 0), to(reg.VLNCTRL_VET, 0x8100))
	p.change(reg.CTRL_EXT, to(reg.CTRL_EXT_EXTENDED_VLAN, bit(p.cfg.OuterVLAN != 0)))
	if p.cfg.OuterVLAN != 0 { // both directions must agree (7.4.5)
		p.change(reg.EXVET, to(reg.EXVET_VET_EXT, uint32(p.cfg.OuterVLAN)))
		p.change(reg.DMATXCTL, to(reg.DMATXCTL_GDV, 1))
	}
}

// packetBuffer returns the KiB of the receive packet buffer for frames.
func (p *Port) packetBuffer() int {
	if p.cfg.FlowDirector != NoFlowDirector {
		return p.model.packetBuffer() - flowMemory
	}
	return p.model.packetBuffer()
}

// setPacketBuffer assigns the whole packet buffer to traffic class 0, the only one.
func (p *Port) setPacketBuffer() {
	for i := range 8 {
		var size uint32
		if i == 0 {
			size = uint32(p.packetBuffer())
		}
		p.store(reg.RXPBSIZE(i), reg.RXPBSIZE_SIZE.Val(size))
	}
}

// setReceiveMAC strips or keeps the CRC, in both registers that must agree, and accepts
// long frames.
func (p *Port) setReceiveMAC() {
	strip := bit(!p.cfg.KeepCRC)
	p.change(reg.HLREG0,
		to(reg.HLREG0_RXCRCSTRP, strip),
		to(reg.HLREG0_JUMBOEN, 1),
		// A frame with a wrong length field is received: a monitor must show it.
		to(reg.HLREG0_RXLNGTHERREN, 0))
	p.change(reg.MAXFRS, to(reg.MAXFRS_MFS, uint32(p.cfg.MaxFrame+crcSize)))
	p.change(reg.RDRXCTL,
		to(reg.RDRXCTL_CRCSTRIP, strip),
		to(reg.RDRXCTL_RSCFRSTSIZE, 0), // these three: "must be" (8.2.3.8.8)
		to(reg.RDRXCTL_RSCACKC, 1),
		to(reg.RDRXCTL_FCOE_WRFIX, 1))
}

// setOffloads selects the hash instead of the fragment checksum in the descriptor,
// which RSS needs, and disables coalescing of TCP segments, which changes frames.
func (p *Port) setOffloads() {
	p.change(reg.RXCSUM, to(reg.RXCSUM_PCSD, 1), to(reg.RXCSUM_IPPCSE, 0))
	p.change(reg.RFCTL, to(reg.RFCTL_RSC_DIS, 1))
	p.change(reg.RSCDBU, to(reg.RSCDBU_RSCACKDIS, 1))
}

// setReceiveQueue configures queue i (4.6.7).
func (p *Port) setReceiveQueue(i int) {
	v := reg.SRRCTL_BSIZEPACKET.Val(uint32(p.cfg.BufferSize>>10)) |
		reg.SRRCTL_BSIZEHEADER.Val(4) | // 256 bytes, the default; header split is off
		reg.SRRCTL_DESCTYPE.Val(1)
	if p.cfg.Queues > 1 || p.pools.count > 0 {
		// Without it, frames of a queue without descriptors stay in the packet buffer
		// that all queues share, and one slow reader blocks the others. With it the
		// device drops them and counts them for that queue (QPRDC). A single queue
		// uses the buffer's 512 KiB instead, unless virtual functions share it.
		v |= reg.SRRCTL_DROP_EN.Val(1)
	}
	q := p.hw(i)
	p.store(reg.SRRCTL(q), v)
	p.change(reg.RSCCTL(q), to(reg.RSCCTL_RSCEN, 0))
	p.change(reg.RXDCTL(q), to(reg.RXDCTL_VME, bit(p.cfg.StripVLAN)), to(reg.RXDCTL_ENABLE, 0))
	p.store(reg.RDH(q), 0)
	p.store(reg.RDT(q), 0)
}

// enableReceive enables the queues, then reception, which must come last (4.6.7). The
// first time it posts the whole rings; after Stop the queues are still enabled and
// continue where they were.
func (p *Port) enableReceive() error {
	for ; p.posted < len(p.rx); p.posted++ {
		i := p.posted
		p.change(reg.RXDCTL(p.hw(i)), to(reg.RXDCTL_ENABLE, 1))
		if err := p.wait(reg.RXDCTL(p.hw(i)), 100*time.Millisecond, to(reg.RXDCTL_ENABLE, 1)); err != nil {
			return err
		}
		p.rx[i].Post()
	}
	// Frames that arrive while RXEN is being set can hang the receive DMA. The
	// security block holds them back until it is set (4.6.7).
	p.change(reg.SECRXCTRL, to(reg.SECRXCTRL_RX_DIS, 1))
	if err := p.wait(reg.SECRXSTAT, 100*time.Millisecond, to(reg.SECRXSTAT_SECRX_RDY, 1)); err != nil {
		p.change(reg.SECRXCTRL, to(reg.SECRXCTRL_RX_DIS, 0))
		return err
	}
	p.change(reg.RXCTRL, to(reg.RXCTRL_RXEN, 1))
	p.change(reg.SECRXCTRL, to(reg.SECRXCTRL_RX_DIS, 0))
	p.flush()
	return nil
}

// disableReceive ends reception and waits until the frames inside the port are in
// memory. With descriptors left 512 KiB take half a millisecond; if the count does
// not change, the rings are full.
func (p *Port) disableReceive() error {
	p.change(reg.RXCTRL, to(reg.RXCTRL_RXEN, 0))
	if err := p.wait(reg.RXCTRL, 100*time.Millisecond, to(reg.RXCTRL_RXEN, 0)); err != nil {
		return err
	}
	var last uint64
	for range 100 {
		time.Sleep(time.Millisecond)
		s, err := p.Stats()
		if err != nil || s.Balanced() == nil || s.Received == last {
			break
		}
		last = s.Received
	}
	return nil
}

// disableReceiveQueues disables each queue (4.6.7.1). ENABLE reads 0 when its last
// descriptors are written back; the memory may be freed 100 us later.
func (p *Port) disableReceiveQueues() error {
	var errs []error
	for i := range p.rx {
		p.change(reg.RXDCTL(p.hw(i)), to(reg.RXDCTL_ENABLE, 0))
	}
	for i := range p.rx {
		errs = append(errs, p.wait(reg.RXDCTL(p.hw(i)), 100*time.Millisecond, to(reg.RXDCTL_ENABLE, 0)))
	}
	time.Sleep(100 * time.Microsecond)
	return errors.Join(errs...)
}
