package driver

import (
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// A virtual function of an 82599 (10EDh). Its registers and its queues are those of a
// port with fewer of everything; what is shared by all functions it asks for by
// messages to the physical function, which any driver may run: this one (Config.VFs),
// Linux' ixgbe, or others.
//
//	reset VFCTRL.RST ──► mailReset: MAC ──► version ──► queues ──► frame length, promiscuous
//	                                                                        │
//	frames ◄── queues enabled ◄── rings, interrupts ◄───────────────────────┘

// virtual is the state of a virtual function.
type virtual struct {
	grant   Grant
	sticky  uint32      // bits of VFMAILBOX that reading has cleared, not handled yet
	stopped bool        // Stop has disabled the queues
	ownMAC  bool        // the physical function has assigned no address
	revoked atomic.Bool // the physical function has taken the function away
	restart virtualRestart

	// Under Port.stats.mu.
	last   virtualCounts // the last reading of the counters
	total  virtualCounts
	frozen bool   // a reset is under way: the counters are not read
	lost   uint64 // frames that the device held at resets
}

// Grant is what the physical function grants a virtual one.
type Grant struct {
	API          string // version of the mailbox's messages, such as "1.5"
	Queues       int    // receive queues that it may use
	PortVLAN     bool   // it is in a VLAN that its frames do not show
	Promiscuous  bool   // it gets all unicast frames that are for no other function
	AllMulticast bool
	RSS          bool // key and table of RSS, which the functions share, are known (Port.RSS)
}

// Virtual reports whether the port is a virtual function, and what it is granted.
func (p *Port) Virtual() (Grant, bool) {
	if p.virtual == nil {
		return Grant{}, false
	}
	p.lockState() // a reset by the physical function may change it
	defer p.state.Unlock()
	return p.virtual.grant, true
}

// Restrictions lists what a capture on a virtual function cannot do, a sentence each; nothing
// on a physical function.
func (p *Port) Restrictions() []string {
	g, virtual := p.Virtual()
	if !virtual {
		return nil
	}
	list := []string{"virtual function: frames that its ring has no room for are counted nowhere (no RXMPC, QPRDC, CRCERRS)"}
	switch {
	case !g.AllMulticast:
		list = append(list, "virtual function: it gets frames for its own address, broadcast and the multicast groups of its hash table; the physical function grants neither promiscuous nor all-multicast mode")
	case !g.Promiscuous:
		list = append(list, "virtual function: it gets frames for its own address, broadcast and all multicast; the physical function does not grant promiscuous mode")
	default:
		list = append(list, "virtual function: frames for other functions come by a mirror rule of the physical function only")
	}
	if g.PortVLAN {
		list = append(list, "virtual function: the physical function removes its VLAN tag from frames")
	}
	if !g.RSS && len(p.rx) > 1 {
		list = append(list, "virtual function: key and table of RSS are the physical function's and not known; both directions of a flow may come to different queues")
	}
	return list
}

// physical returns an error if the port is a virtual function, which cannot do that.
func (p *Port) physical(what string) error {
	if p.virtual == nil {
		return nil
	}
	return fmt.Errorf("%s of %s: a virtual function cannot: the physical function does it", what, p.dev.Name())
}

// initVirtual is the initialisation of a virtual function (4.2.2.2, ixgbevf).
func (p *Port) initVirtual() error {
	if len(p.cfg.VFs) > 0 {
		return errors.New("a virtual function has no virtual functions (Config.VFs)")
	}
	if p.cfg.KeepCRC {
		return errors.New("keep the CRC: a virtual function cannot, the physical function does it")
	}
	if p.cfg.Clock {
		return errors.New("run the clock: a virtual function has none (Config.Clock)")
	}
	return p.run([]step{
		{"enable the function", p.enableFunction},
		{"disable interrupts", p.disableInterrupts},
		{"reset", p.resetVirtual},
		{"negotiate with the physical function", p.negotiate},
		{"clear statistics", p.clearVirtualStatistics},
		{"initialise receive", p.initVirtualReceive},
		{"initialise transmit", p.initVirtualTransmit},
		{"connect interrupts", p.connectInterrupts},
	})
}

// physicalTimeout is how long the driver of the physical function may take to be ready, and
// to read and answer a message. It may run in a process that waits for a processor.
const physicalTimeout = 3 * time.Second

// mailbox reads VFMAILBOX with the bits that earlier readings have cleared.
func (p *Port) mailbox() uint32 {
	v := p.load(reg.VFMAILBOX)
	const cleared = 1<<4 | 1<<5 | 1<<7 // PFSTS, PFACK, RSTD
	p.virtual.sticky |= v & cleared
	return v | p.virtual.sticky
}

// handled clears a bit that reading the register has cleared.
func (p *Port) handled(f reg.Field) { p.virtual.sticky &^= f.Mask() }

// waitMailbox waits for a bit of VFMAILBOX to have a value.
func (p *Port) waitMailbox(f reg.Field, want uint32, limit time.Duration) error {
	begin := time.Now()
	for {
		v := p.mailbox()
		if err := p.err(); err != nil {
			return err
		}
		if f.Of(v) == want {
			return nil
		}
		if p.givesWay() {
			return errUnanswered
		}
		if time.Since(begin) >= limit {
			return waitError(reg.VFMAILBOX, limit, v, to(f, want))
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// resetVirtual resets the function, once the physical function is ready.
func (p *Port) resetVirtual() error {
	p.store(reg.VFCTRL, reg.VFCTRL_RST.Mask())
	p.flush()
	if err := p.waitMailbox(reg.VFMAILBOX_RSTI, 0, physicalTimeout); err != nil {
		return fmt.Errorf("%w. The driver of the physical function is not running", err)
	}
	p.handled(reg.VFMAILBOX_RSTD)
	m, err := p.ask(&mail{mailReset}, 1)
	if err != nil {
		return err
	}
	switch p.virtual.ownMAC = false; m[0] &^ mailCTS {
	case mailReset | mailSuccess:
	case mailReset | mailFailure:
		// Linux' ixgbe assigns an address only if it was told one.
		if p.virtual.ownMAC = true; p.mac == nil {
			p.mac = randomMAC()
		}
		return nil
	default:
		return fmt.Errorf("the physical function answers %#x", m[0])
	}
	mac := net.HardwareAddr(m.mac())
	if mac[0]&1 != 0 {
		return fmt.Errorf("the physical function assigns %s, which is no station address", mac)
	}
	p.mac = mac
	return nil
}

// ask sends the first words of a message and returns the answer.
func (p *Port) ask(m *mail, words int) (answer mail, err error) {
	fail := func(what string, err error) (mail, error) {
		return mail{}, fmt.Errorf("message %#x to the physical function: %s: %w", m.request(), what, err)
	}
	if err := p.lockVirtualMail(); err != nil {
		return fail("take the mailbox", err)
	}
	for i := range words {
		p.store(reg.VFMBMEM(i), m[i])
	}
	p.handled(reg.VFMAILBOX_PFSTS)
	p.handled(reg.VFMAILBOX_PFACK)
	p.store(reg.VFMAILBOX, reg.VFMAILBOX_REQ.Mask())
	if err := p.waitMailbox(reg.VFMAILBOX_PFACK, 1, physicalTimeout); err != nil {
		return fail("not read", err)
	}
	p.handled(reg.VFMAILBOX_PFACK)
	for range 3 { // a message of the physical function may be in front of the answer
		if err := p.waitMailbox(reg.VFMAILBOX_PFSTS, 1, physicalTimeout); err != nil {
			return fail("no answer", err)
		}
		if answer, err = p.readVirtualMail(); err != nil {
			return fail("read the answer", err)
		}
		if answer.request() != mailControl {
			break
		}
	}
	return answer, nil
}

func (p *Port) lockVirtualMail() error {
	begin := time.Now()
	for {
		p.store(reg.VFMAILBOX, reg.VFMAILBOX_VFU.Mask())
		v := p.mailbox()
		if reg.VFMAILBOX_VFU.Of(v) != 0 {
			return nil
		}
		if p.givesWay() {
			return errUnanswered
		}
		if time.Since(begin) > physicalTimeout {
			return waitError(reg.VFMAILBOX, physicalTimeout, v, to(reg.VFMAILBOX_VFU, 1))
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// readVirtualMail reads and acknowledges a message of the physical function.
func (p *Port) readVirtualMail() (m mail, err error) {
	if err := p.lockVirtualMail(); err != nil {
		return m, err
	}
	for i := range m {
		m[i] = p.load(reg.VFMBMEM(i))
	}
	p.handled(reg.VFMAILBOX_PFSTS)
	p.store(reg.VFMAILBOX, reg.VFMAILBOX_ACK.Mask())
	return m, nil
}

// request asks for something and reports whether it is granted.
func (p *Port) request(words ...uint32) (answer mail, granted bool, err error) {
	var m mail
	copy(m[:], words)
	if answer, err = p.ask(&m, len(words)); err == nil && answer[0]&mailCTS == 0 {
		err = errNotReady
	}
	return answer, answer[0]&mailSuccess != 0 && answer[0]&mailFailure == 0, err
}

// errNotReady is the error of a request that the physical function answers without CTS: it
// has seen a reset after the message about it, or wants one.
var errNotReady = errors.New("the physical function asks for a reset of this function")

// negotiate agrees on what the function may do.
func (p *Port) negotiate() error {
	err := p.negotiateOnce()
	for range 2 {
		if !errors.Is(err, errNotReady) {
			break
		}
		if err = p.resetVirtual(); err == nil {
			err = p.negotiateOnce()
		}
	}
	return err
}

// negotiateOnce agrees on the version of the messages, then asks for what a capture needs.
func (p *Port) negotiateOnce() error {
	version := version10
	for _, v := range versions {
		_, ok, err := p.request(mailNegotiate, uint32(v))
		if err != nil {
			return err
		}
		if ok {
			version = v
			break
		}
	}
	if err := p.announceMAC(); err != nil {
		return err
	}
	g := &p.virtual.grant
	g.API, g.Queues = version.String(), 1
	if version >= version11 {
		m, ok, err := p.request(mailQueues, 0, 0, 0, 0)
		if err != nil {
			return err
		}
		if ok {
			g.Queues, g.PortVLAN = int(min(m[1], m[2], 8)), m[3] != 0
		}
	}
	if p.cfg.Queues > g.Queues || p.cfg.TxQueues > g.Queues {
		return fmt.Errorf("%d receive and %d transmit queues: the physical function grants %d", p.cfg.Queues, p.cfg.TxQueues, g.Queues)
	}
	if err := p.negotiateFrames(); err != nil {
		return err
	}
	if version >= version12 {
		if err := p.negotiateFilters(version); err != nil {
			return err
		}
	}
	if version >= version12 {
		return p.askRSS()
	}
	return nil
}

// announceMAC asks for the address that the function has chosen because it was assigned none.
func (p *Port) announceMAC() error {
	if !p.virtual.ownMAC {
		return nil
	}
	var m mail
	m.setMAC(p.mac)
	_, ok, err := p.request(mailSetMAC, m[1], m[2])
	if err == nil && !ok {
		err = fmt.Errorf("it assigns this function no MAC address and refuses %s. Assign one: ip link set INTERFACE vf N mac ADDRESS", p.mac)
	}
	return err
}

// negotiateFrames asks for the longest frame. A configuration that leaves it open gets
// what ports have without jumbo frames, if more is refused.
func (p *Port) negotiateFrames() error {
	const ordinary = 1514
	_, ok, err := p.request(mailSetMaxFrame, uint32(p.cfg.MaxFrame+crcSize))
	if err != nil || ok {
		return err
	}
	if p.cfg.MaxFrame != MaxFrame {
		return fmt.Errorf("frames of %d bytes (Config.MaxFrame): the physical function refuses them", p.cfg.MaxFrame)
	}
	p.cfg.MaxFrame = ordinary
	_, _, err = p.request(mailSetMaxFrame, ordinary+crcSize) // a refusal changes nothing
	return err
}

// negotiateFilters asks for promiscuous mode, else for all multicast.
func (p *Port) negotiateFilters(v mailVersion) error {
	g := &p.virtual.grant
	modes := []uint32{xcastPromiscuous, xcastAllMulticast, xcastMulti}
	if v < version13 {
		modes = modes[1:]
	}
	for _, mode := range modes {
		m, ok, err := p.request(mailXcast, mode)
		if err != nil {
			return err
		}
		if ok {
			g.Promiscuous, g.AllMulticast = m[1] == xcastPromiscuous, m[1] >= xcastAllMulticast
			return nil
		}
	}
	return nil
}

// askRSS asks for table and key of RSS.
func (p *Port) askRSS() error {
	table, ok, err := p.request(mailRETA)
	if err != nil || !ok {
		return err
	}
	key, ok, err := p.request(mailRSSKey)
	if err != nil || !ok {
		return err
	}
	r := RSS{Key: &RSSKey{}, Fields: AllFields, Table: make([]int, RSSTableSize)}
	for i := range r.Key {
		r.Key[i] = byte(key[1+i/4] >> (8 * (i % 4)))
	}
	for i := range r.Table {
		r.Table[i] = int(table[1+i/16]>>(2*(i%16))&3) % p.cfg.Queues
	}
	p.cfg.RSS, p.virtual.grant.RSS = r, true
	return nil
}

func (p *Port) initVirtualReceive() error {
	p.store(reg.VFPSRTYPE, reg.VFPSRTYPE_RQPL.Val(uint32(bits.Len(uint(p.cfg.Queues-1)))))
	for i := range p.cfg.Queues {
		if i < len(p.rx) {
			p.storeRing(i)
		} else if err := p.newRx(i); err != nil {
			return fmt.Errorf("receive queue %d: %w", i, err)
		}
		p.setReceiveQueue(i)
		p.change(reg.DCA_RXCTRL(i), to(reg.DCA_RXCTRL_RESERVED, 0))
	}
	return nil
}

// initVirtualTransmit sets the transmit queues up. After a reset those are enabled whose
// users have taken them over.
func (p *Port) initVirtualTransmit() error {
	for i := range p.cfg.TxQueues {
		if i < len(p.tx) {
			p.storeTxRing(i)
		} else if err := p.newTx(i); err != nil {
			return fmt.Errorf("transmit queue %d: %w", i, err)
		}
		p.store(reg.VFTXDCTL(i), reg.VFTXDCTL_PTHRESH.Val(36)|reg.VFTXDCTL_HTHRESH.Val(8))
		if p.tx[i].restart.state.Load() != restartNone {
			continue
		}
		if err := p.enableTransmitQueue(i); err != nil {
			return err
		}
	}
	return nil
}

// enableVirtual enables the queues. After Stop their rings begin anew: a queue that
// was disabled forgets its descriptors. While the physical function is in reset it only
// prepares the rings, and the end of the reset enables the queues.
func (p *Port) enableVirtual() error {
	for i, q := range p.rx {
		if p.virtual.stopped {
			q.rewind()
		}
		if !p.virtual.revoked.Load() {
			p.store(reg.RDH(i), 0)
			p.store(reg.RDT(i), 0)
			p.change(reg.RXDCTL(i), to(reg.RXDCTL_ENABLE, 1))
			if err := p.wait(reg.RXDCTL(i), 100*time.Millisecond, to(reg.RXDCTL_ENABLE, 1)); err != nil {
				return err
			}
		}
		q.Post()
	}
	p.posted = len(p.rx)
	return nil
}

// stopVirtual disables the receive queues. Readers that were asked to take their queues
// over after a reset need not answer any more: Start begins with new rings.
func (p *Port) stopVirtual() error {
	err := p.disableReceiveQueues()
	p.virtual.stopped, p.phase = true, restartNone
	if p.virtual.revoked.Load() {
		return nil // the reset has disabled them
	}
	return err
}

// haltVirtual stops the function's bus traffic.
func (p *Port) haltVirtual() error {
	errs := []error{p.disableReceiveQueues(), p.disableVirtualTransmit()}
	p.store(reg.VFCTRL, reg.VFCTRL_RST.Mask())
	p.flush()
	errs = append(errs, p.changeCommand(0, pciCommandMaster))
	if p.err() != nil {
		return nil
	}
	return errors.Join(errs...)
}

func (p *Port) disableVirtualTransmit() error {
	var errs []error
	for i := range p.tx {
		p.change(reg.VFTXDCTL(i), to(reg.VFTXDCTL_ENABLE, 0))
		errs = append(errs, p.wait(reg.VFTXDCTL(i), 100*time.Millisecond, to(reg.VFTXDCTL_ENABLE, 0)))
	}
	return errors.Join(errs...)
}

// virtualCounts are the counters of a virtual function.
type virtualCounts struct{ received, receivedBytes, multicast, sent, sentBytes uint64 }

// readVirtual reads the counters as they are.
func (p *Port) readVirtual() virtualCounts {
	wide := func(low, high reg.Register) uint64 {
		for {
			h := p.load(high)
			l := p.load(low)
			if p.load(high) == h { // nothing latches the upper half
				return uint64(h&0xf)<<32 | uint64(l)
			}
		}
	}
	return virtualCounts{
		uint64(p.load(reg.VFGPRC)), wide(reg.VFGORC_LSB, reg.VFGORC_MSB), uint64(p.load(reg.VFMPRC)),
		uint64(p.load(reg.VFGPTC)), wide(reg.VFGOTC_LSB, reg.VFGOTC_MSB),
	}
}

func (p *Port) clearVirtualStatistics() error {
	p.virtual.last = p.readVirtual()
	return nil
}

// updateVirtual adds what the counters, of 32 and 36 bits, have counted since the last
// reading: they wrap. p.stats.mu is held.
func (p *Port) updateVirtual() error {
	if p.gone.Load() || p.virtual.frozen {
		return nil
	}
	now, v := p.readVirtual(), p.virtual
	if err := p.err(); err != nil {
		return err
	}
	add := func(total *uint64, now, last uint64, bits int) {
		mask := uint64(1)<<bits - 1
		// A counter that has gone backwards was cleared by a reset of the port.
		if d := (now - last) & mask; d <= mask/2 {
			*total += d
		}
	}
	add(&v.total.received, now.received, v.last.received, 32)
	add(&v.total.multicast, now.multicast, v.last.multicast, 32)
	add(&v.total.sent, now.sent, v.last.sent, 32)
	add(&v.total.receivedBytes, now.receivedBytes, v.last.receivedBytes, 36)
	add(&v.total.sentBytes, now.sentBytes, v.last.sentBytes, 36)
	v.last = now
	return nil
}

// virtualStats is Stats of a virtual function. p.stats.mu is held.
func (p *Port) virtualStats() (Stats, error) {
	err := p.updateVirtual()
	t := p.virtual.total
	s := Stats{
		LinkDowns: p.linkDowns.Load(),
		Wire:      t.received + p.virtual.lost, WireBytes: t.receivedBytes, Received: t.received, ReceivedBytes: t.receivedBytes,
		Sent: t.sent, SentBytes: t.sentBytes,
	}
	if p.virtual.lost > 0 {
		s.Missed = []RegisterCount{{reg.VFCTRL_RST.String(), p.virtual.lost}}
	}
	for _, q := range p.rx {
		s.Queues = append(s.Queues, QueueStats{Overlong: q.Overlong(), Malformed: q.Malformed()})
	}
	if len(p.rx) == 1 {
		s.Queues[0].Received, s.Queues[0].Bytes = t.received, t.receivedBytes
	}
	s.SentQueue = make([]uint64, len(p.tx))
	if err != nil {
		return s, fmt.Errorf("read statistics of %s: %w", p.dev.Name(), err)
	}
	return s, nil
}

// virtualCounters is Counters of a virtual function, by the names of ixgbevf's
// statistics. p.stats.mu is held.
func (p *Port) virtualCounters() ([]Counter, error) {
	err := p.updateVirtual()
	t := p.virtual.total
	return []Counter{
		{"rx_packets", reg.VFGPRC.Name(), t.received}, {"rx_bytes", reg.VFGORC_LSB.Name(), t.receivedBytes},
		{"multicast", reg.VFMPRC.Name(), t.multicast},
		{"tx_packets", reg.VFGPTC.Name(), t.sent}, {"tx_bytes", reg.VFGOTC_LSB.Name(), t.sentBytes},
	}, err
}

// routeVirtual routes the causes of a virtual function: queues and the mailbox. A
// message clears and masks its cause.
func (p *Port) routeVirtual() {
	irq := p.irq
	p.store(reg.VTEIAC, 1<<irq.used-1)
	p.store(reg.VTEIAM, 1<<irq.used-1)
	for q, v := range irq.queue {
		p.change(reg.VTIVAR(q/2), to(reg.VTIVAR_RX[q%2], uint32(v)), to(reg.VTIVAR_RX_VALID[q%2], 1))
	}
	p.store(reg.VTIVAR_MISC, reg.VTIVAR_MISC_OTHER.Val(uint32(irq.other))|reg.VTIVAR_MISC_VALID.Val(1))
}
