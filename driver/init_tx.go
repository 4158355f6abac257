package driver

import (
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver/internal/reg"
)

// txPacketBuffer is the port's transmit packet buffer in KiB (4.6.11.3.4).
const txPacketBuffer = 160

// txMemory is what the registers of a transmit queue are set to.
type txMemory struct {
	descs dma.IOVA
	size  int      // bytes
	head  dma.IOVA // where the device writes the ring's head; 0: nowhere
	limit uint32   // RTTBCNRC; under Port.selecting
}

// initTransmit is step 8 (4.6.8). Without transmit queues it leaves the DMA off. After a
// reset it is run again; queues are enabled once their users have taken them over.
func (p *Port) initTransmit() error {
	p.change(reg.HLREG0, to(reg.HLREG0_TXCRCEN, 1), to(reg.HLREG0_TXPADEN, 1))
	if p.cfg.TxQueues == 0 && p.pools.count == 0 {
		return nil
	}
	// No DCB: one buffer, one traffic class (4.6.11.3.4).
	// The arbiter must be off while MTQC changes.
	p.change(reg.RTTDCS, to(reg.RTTDCS_ARBDIS, 1))
	p.store(reg.MTQC, p.pools.mtqc())
	for i := range 8 {
		var size, threshold uint32
		if i == 0 {
			size = txPacketBuffer
			threshold = txPacketBuffer - uint32(p.cfg.MaxFrame+8+crcSize+1023)>>10
		}
		p.store(reg.TXPBSIZE(i), reg.TXPBSIZE_SIZE.Val(size))
		p.store(reg.TXPBTHRESH(i), reg.TXPBTHRESH_THRESH.Val(threshold))
	}
	// As Linux' ixgbe_set_vf_rate_limit: a window of 4 KiB, or 20 KiB for jumbo frames.
	window := uint32(4)
	if p.cfg.MaxFrame > 1518 {
		window = 20
	}
	p.store(reg.RTTBCNRM, reg.RTTBCNRM_MMW_SIZE.Val(window))
	p.change(reg.DTXMXSZRQ, to(reg.DTXMXSZRQ_MAX_BYTES, 0xfff))
	p.change(reg.RTTDCS, to(reg.RTTDCS_ARBDIS, 0))
	for i := range p.cfg.TxQueues {
		if i == len(p.tx) {
			if err := p.newTx(i); err != nil {
				return fmt.Errorf("transmit queue %d: %w", i, err)
			}
		}
		p.setTransmitQueue(i)
	}
	p.change(reg.DMATXCTL, to(reg.DMATXCTL_TE, 1))
	for i, q := range p.tx {
		if q.restart.state.Load() != restartNone {
			p.change(reg.TXDCTL(p.hw(i)), to(reg.TXDCTL_ENABLE, 0)) // TE has enabled queue 0
			continue
		}
		if err := p.enableTransmitQueue(i); err != nil {
			return err
		}
	}
	return nil
}

// setTransmitQueue configures queue i.
func (p *Port) setTransmitQueue(i int) {
	p.storeTxRing(i)
	// Write-backs must stay in order: Send reclaims descriptors in order.
	p.change(reg.DCA_TXCTRL(p.hw(i)), to(reg.DCA_TXCTRL_DESC_WRO, 0))
	p.selecting.Lock()
	p.store(reg.RTTDQSEL, reg.RTTDQSEL_TXDQ_IDX.Val(uint32(p.hw(i))))
	p.store(reg.RTTBCNRC, p.txRings[i].limit)
	p.selecting.Unlock()
	// Prefetch if fewer than 36 descriptors are cached and at least 8 wait. Write
	// back each at once: only those with RS are written back (7.2.3.4.1).
	p.change(reg.TXDCTL(p.hw(i)), to(reg.TXDCTL_PTHRESH, 36), to(reg.TXDCTL_HTHRESH, 8), to(reg.TXDCTL_WTHRESH, 0))
}

// enableTransmitQueue enables queue i, whose ring is empty.
func (p *Port) enableTransmitQueue(i int) error {
	r := p.txRing(i)
	p.store(r.head, 0)
	p.store(r.tail, 0)
	if p.virtual != nil {
		p.change(reg.VFTXDCTL(i), to(reg.VFTXDCTL_ENABLE, 1))
		return p.wait(reg.VFTXDCTL(i), 100*time.Millisecond, to(reg.VFTXDCTL_ENABLE, 1))
	}
	p.change(reg.TXDCTL(p.hw(i)), to(reg.TXDCTL_ENABLE, 1))
	return p.wait(reg.TXDCTL(p.hw(i)), 100*time.Millisecond, to(reg.TXDCTL_ENABLE, 1))
}

// disableTransmit waits until the queues are empty, at most 20 ms because a link that
// is down never empties them, then disables them (4.6.8.1).
func (p *Port) disableTransmit() error {
	var errs []error
	for i := range p.tx {
		deadline := time.Now().Add(20 * time.Millisecond)
		for p.load(reg.TDH(p.hw(i))) != p.load(reg.TDT(p.hw(i))) && time.Now().Before(deadline) {
			time.Sleep(100 * time.Microsecond)
		}
		p.change(reg.TXDCTL(p.hw(i)), to(reg.TXDCTL_ENABLE, 0))
		errs = append(errs, p.wait(reg.TXDCTL(p.hw(i)), 100*time.Millisecond, to(reg.TXDCTL_ENABLE, 0)))
	}
	if len(p.tx) > 0 || p.pools.count > 0 {
		p.change(reg.DMATXCTL, to(reg.DMATXCTL_TE, 0))
	}
	return errors.Join(errs...)
}
