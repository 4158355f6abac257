package driver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// VF is what a port grants a virtual function. The zero value isolates it: it gets
// frames for its address, broadcast, and the multicast groups that it asks for, and
// cannot send under another address.
type VF struct {
	MAC net.HardwareAddr // nil: a random one

	// VLAN is the port VLAN: the function is in it without knowing. Frames that it
	// sends are tagged, those it gets have lost the tag. 0: none, and the function
	// may join VLANs.
	VLAN uint16

	// Trusted lets it change its address, add addresses, and get all multicast and
	// all unicast frames that are for no other function.
	Trusted bool

	// MaySpoof lets it send frames with any source address and VLAN.
	MaySpoof bool

	// ShareRSS tells it key and table of RSS, which all pools share.
	ShareRSS bool

	// Disabled: it neither receives nor sends.
	Disabled bool
}

func (v VF) check() error {
	if v.MAC != nil && (len(v.MAC) != 6 || v.MAC[0]&1 != 0 || bytes.Equal(v.MAC, make([]byte, 6))) {
		return fmt.Errorf("MAC %s: want a station address", v.MAC)
	}
	if v.VLAN > maxVLAN {
		return fmt.Errorf("VLAN %d: want 1 to %d, or 0 for none", v.VLAN, maxVLAN)
	}
	return nil
}

const maxVLAN = 4094

// VFState is a virtual function as it is now.
type VFState struct {
	VF
	Ready        bool   // its driver has reset it, and may send requests
	API          string // version of the mailbox's messages, such as "1.5"
	VLANs        []uint16
	Promiscuous  bool // gets all unicast frames that are for no other function
	AllMulticast bool
	Requests     uint64 // messages
	Refused      uint64 // of them
}

// vf is a virtual function to its port.
type vf struct {
	VF
	ready             bool
	began             bool      // its driver has reset it and has yet to say so
	reminded          time.Time // when it was last told to
	version           mailVersion
	xcast             uint32
	hashes            []uint16 // of multicast addresses
	added             []int    // receive addresses that it has added
	vlans             []uint16
	requests, refused uint64
}

// VFs returns the virtual functions that the port offers.
func (p *Port) VFs() []VFState {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	var all []VFState
	for i := range p.pools.vfs {
		v := &p.pools.vfs[i]
		all = append(all, VFState{VF: v.VF, Ready: v.ready, API: v.version.String(), VLANs: slices.Clone(v.vlans),
			Promiscuous: v.xcast == xcastPromiscuous, AllMulticast: v.xcast >= xcastAllMulticast,
			Requests: v.requests, Refused: v.refused})
	}
	return all
}

// SetVF changes what virtual function i is granted, and resets it: its driver must
// start it again. A nil MAC keeps the address.
func (p *Port) SetVF(i int, v VF) error {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	if i < 0 || i >= p.pools.count {
		return fmt.Errorf("set virtual function %d of %s: it has %d", i, p.dev.Name(), p.pools.count)
	}
	if err := v.check(); err != nil {
		return fmt.Errorf("set virtual function %d of %s: %w", i, p.dev.Name(), err)
	}
	if v.MAC == nil {
		v.MAC = p.pools.vfs[i].MAC
	}
	p.pools.vfs[i].VF = v
	p.revoke(i)
	if err := p.err(); err != nil {
		return fmt.Errorf("set virtual function %d of %s: %w", i, p.dev.Name(), err)
	}
	return nil
}

// revoke stops a function and tells its driver that it must reset it.
func (p *Port) revoke(i int) {
	p.pools.vfs[i].ready, p.pools.vfs[i].began = false, false
	p.setPoolBit(reg.PFVFRE, i, false)
	p.setPoolBit(reg.PFVFTE, i, false)
	if p.takeMail(i) {
		p.askReset(i)
	}
}

// revokeVFs stops all functions: the port closes.
func (p *Port) revokeVFs() {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	for i := range p.pools.vfs {
		p.revoke(i)
	}
}

// offerVFs tells the functions that the port is ready.
func (p *Port) offerVFs() error {
	if p.pools.count > 0 {
		p.change(reg.CTRL_EXT, to(reg.CTRL_EXT_PFRSTD, 1))
	}
	return nil
}

// remindInterval is how often a function that is not ready is told to reset itself: ixgbevf
// ignores that for 10 s after its last reset.
const remindInterval = 2 * time.Second

// remind tells the drivers of functions that are not ready to reset them. After a reset of
// the port ixgbevf does not do so by itself. A driver that has begun is not disturbed: it
// takes the next message for an answer.
func (p *Port) remind() {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	for i := range p.pools.vfs {
		v := &p.pools.vfs[i]
		if v.ready || v.began || time.Since(v.reminded) < remindInterval {
			continue
		}
		v.reminded = time.Now()
		if p.lockMail(i, 0) {
			p.askReset(i)
		}
	}
}

// Intervals at which mailboxes are read without interrupts, and in case one is lost.
const (
	mailInterval     = 10 * time.Millisecond
	mailIntervalSafe = time.Second
)

// serveVFs answers the functions until Close.
func (p *Port) serveVFs() {
	interval := mailInterval
	if p.irq != nil && !p.irq.dead[p.irq.other] {
		interval = mailIntervalSafe
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		p.serveMail()
		p.remind()
		select {
		case <-p.quit:
			return
		case <-p.dev.Done():
			return
		case <-p.pools.kick:
		case <-tick.C:
		}
	}
}

// wakeVFs makes serveVFs look at the mailboxes.
func (p *Port) wakeVFs() {
	select {
	case p.pools.kick <- struct{}{}:
	default:
	}
}

// serveMail handles resets of functions and their messages.
func (p *Port) serveMail() {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	for w := range (p.pools.count + 31) / 32 {
		resets := p.load(reg.PFVFLRE(w))
		if resets == 0 || p.err() != nil {
			continue
		}
		p.store(reg.PFVFLREC(w), resets)
		for i := 32 * w; i < min(32*w+32, p.pools.count); i++ {
			if resets>>(i%32)&1 != 0 {
				p.pools.vfs[i].ready, p.pools.vfs[i].began = false, true
			}
		}
	}
	for w := range (p.pools.count + 15) / 16 {
		causes := p.load(reg.PFMBICR(w))
		if causes == 0 || p.err() != nil {
			continue
		}
		p.store(reg.PFMBICR(w), reg.PFMBICR_VFACK.Mask()&causes)
		for i := 16 * w; i < min(16*w+16, p.pools.count); i++ {
			if bit := uint32(1) << (i % 16); causes&bit != 0 {
				p.store(reg.PFMBICR(w), bit)
				p.answerMail(i)
			}
		}
	}
}

var errRefused = errors.New("refused")

// answerMail reads a function's message and answers it.
func (p *Port) answerMail(i int) {
	v := &p.pools.vfs[i]
	m := p.readMail(i)
	v.requests++
	if m.request() == mailReset {
		p.resetVF(i)
		m = mail{mailReset | mailSuccess}
		m.setMAC(v.MAC)
		p.writeMail(i, &m, 4) // word 3: bits 47:36 of a multicast address are its hash
		return
	}
	if !v.ready {
		v.refused++
		m[0] |= mailFailure
		p.writeMail(i, &m, 1)
		return
	}
	if err := p.grant(i, v, &m); err != nil {
		v.refused++
		m[0] |= mailFailure
	} else {
		m[0] |= mailSuccess
	}
	m[0] |= mailCTS
	p.writeMail(i, &m, mailWords)
}

// resetVF sets a function's filters to those after its reset, and starts its pool.
func (p *Port) resetVF(i int) {
	v := &p.pools.vfs[i]
	v.ready, v.began, v.version, v.xcast = true, false, version10, xcastMulti
	p.store(reg.PFVFLREC(i/32), 1<<(i%32)) // the reset came before the message, and may not be handled yet
	v.hashes, v.vlans = nil, nil
	p.removeAddresses(v)
	p.leaveVLANs(i)
	p.setAddress(1+i, i, v.MAC)
	p.setMulticast()
	var qde uint32
	if v.VLAN != 0 {
		p.setVLAN(i, v.VLAN, true)
		p.store(reg.PFVMVIR(i), reg.PFVMVIR_VLANA.Val(1)|reg.PFVMVIR_VLAN.Val(uint32(v.VLAN)))
		qde = reg.PFQDE_HIDE_VLAN.Mask()
	} else {
		p.store(reg.PFVMVIR(i), 0)
	}
	// A function without descriptors must not hold up the others.
	for q := range p.pools.size {
		p.store(reg.PFQDE, reg.PFQDE_WE.Mask()|reg.PFQDE_ENABLE.Mask()|qde|reg.PFQDE_QUEUE_INDEX.Val(uint32(i*p.pools.size+q)))
	}
	p.setSpoofCheck(i, !v.MaySpoof)
	p.setL2Filter(i)
	p.setPoolBit(reg.PFVFRE, i, !v.Disabled)
	p.setPoolBit(reg.PFVFTE, i, !v.Disabled)
}

// setSpoofCheck sets whether a function's source addresses and VLANs are checked.
func (p *Port) setSpoofCheck(i int, on bool) {
	r := reg.PFVFSPOOF(i / 8)
	bits := uint32(1)<<(i%8) | uint32(1)<<(8+i%8)
	v := p.load(r) &^ bits
	if on {
		v |= bits
	}
	p.store(r, v)
}

// setL2Filter sets what a function's pool accepts besides its addresses, and that of
// the port: while a function is promiscuous, the port shares its unicast frames by the
// same hash table, all bits of which are set.
func (p *Port) setL2Filter(i int) {
	v := &p.pools.vfs[i]
	filter := reg.PFVML2FLT_BAM.Mask()
	if v.VLAN == 0 {
		filter |= reg.PFVML2FLT_AUPE.Mask()
	}
	if v.xcast >= xcastMulti {
		filter |= reg.PFVML2FLT_ROMPE.Mask()
	}
	if v.xcast >= xcastAllMulticast {
		filter |= reg.PFVML2FLT_MPE.Mask()
	}
	if v.xcast == xcastPromiscuous {
		filter |= reg.PFVML2FLT_ROPE.Mask()
	}
	p.store(reg.PFVML2FLT(i), filter)
	var shared uint32
	for k := range p.pools.vfs {
		if p.pools.vfs[k].xcast == xcastPromiscuous {
			shared = 1
		}
	}
	p.change(reg.PFVML2FLT(p.pools.count), to(reg.PFVML2FLT_ROPE, shared))
}

// setMulticast stores the hashes of all functions' multicast addresses.
func (p *Port) setMulticast() {
	var table [128]uint32
	for i := range p.pools.vfs {
		for _, h := range p.pools.vfs[i].hashes {
			table[h>>5&0x7f] |= 1 << (h & 31)
		}
	}
	for i, word := range table {
		p.store(reg.MTA(i), word)
	}
}

func (p *Port) removeAddresses(v *vf) {
	for _, at := range v.added {
		p.setAddress(at, 0, nil)
	}
	v.added = nil
}

// grant carries out a request of a function, or refuses it.
func (p *Port) grant(i int, v *vf, m *mail) error {
	switch m.request() {
	case mailNegotiate:
		offered, _ := mailVersionOf(p.cfg.VFMailbox)
		if !slices.Contains(versions, mailVersion(m[1])) || mailVersion(m[1]) > offered {
			return errRefused
		}
		v.version = mailVersion(m[1])
	case mailSetMAC:
		return p.grantMAC(i, v, m.mac())
	case mailSetMACVLAN:
		return p.grantAddress(i, v, m)
	case mailSetMulticast:
		n := min(int(m.info()), 2*(mailWords-1))
		v.hashes = nil
		for k := range n {
			v.hashes = append(v.hashes, uint16(m[1+k/2]>>(16*(k%2)))&0xfff)
		}
		p.setMulticast()
	case mailSetVLAN:
		return p.grantVLAN(i, v, uint16(m[1]&0xfff), m.info() != 0)
	case mailSetMaxFrame:
		if int(m[1]) > p.cfg.MaxFrame+crcSize {
			return errRefused
		}
	default:
		return p.grantQuery(i, v, m)
	}
	return nil
}

func (p *Port) grantMAC(i int, v *vf, mac net.HardwareAddr) error {
	if bytes.Equal(mac, v.MAC) {
		return nil
	}
	if !v.Trusted || (VF{MAC: mac}).check() != nil {
		return errRefused
	}
	v.MAC = mac
	p.setAddress(1+i, i, mac)
	return nil
}

// grantAddress adds a further address; index 0 removes all of them.
func (p *Port) grantAddress(i int, v *vf, m *mail) error {
	if m.info() <= 1 {
		p.removeAddresses(v)
	}
	if m.info() == 0 {
		return nil
	}
	mac := net.HardwareAddr(m.mac())
	if !v.Trusted || (VF{MAC: mac}).check() != nil {
		return errRefused
	}
	for at := 1 + p.pools.count; at < receiveAddresses; at++ {
		if reg.RAH_AV.Of(p.load(reg.RAH(at))) == 0 {
			p.setAddress(at, i, mac)
			v.added = append(v.added, at)
			return nil
		}
	}
	return errRefused
}

func (p *Port) grantVLAN(i int, v *vf, vlan uint16, add bool) error {
	switch {
	case v.VLAN != 0:
		return errRefused
	case !p.setVLAN(i, vlan, add):
		return errRefused
	}
	v.vlans = slices.DeleteFunc(v.vlans, func(x uint16) bool { return x == vlan })
	if add {
		v.vlans = append(v.vlans, vlan)
	}
	return nil
}

// grantQuery answers the requests of version 1.1 and later.
func (p *Port) grantQuery(i int, v *vf, m *mail) error {
	switch r := m.request(); {
	case r == mailQueues && v.version >= version11:
		m[1], m[2], m[3], m[4] = uint32(p.pools.size), uint32(p.pools.size), 0, 0
		if v.VLAN != 0 {
			m[3] = 1
		}
	case r == mailRETA && v.version >= version12 && v.ShareRSS:
		p.packRETA(m)
	case r == mailRSSKey && v.version >= version12 && v.ShareRSS:
		for k := range len(RSSKey{}) / 4 {
			m[1+k] = p.load(reg.RSSRK(k))
		}
	case r == mailXcast && v.version >= version12:
		return p.grantXcast(i, v, m)
	case r == mailLinkState && v.version >= version12:
		if m[1] = 1; v.Disabled {
			m[1] = 0
		}
	default:
		return errRefused
	}
	return nil
}

// packRETA stores the indirection table with 2 bits an entry.
func (p *Port) packRETA(m *mail) {
	clear(m[1:])
	for i := range RSSTableSize {
		entry := reg.RETA_ENTRY[i%4].Of(p.load(reg.RETA(i / 4)))
		m[1+i/16] |= entry & 3 << (2 * (i % 16))
	}
}

func (p *Port) grantXcast(i int, v *vf, m *mail) error {
	mode := m[1]
	if mode > xcastPromiscuous || mode == xcastPromiscuous && v.version < version13 {
		return errRefused
	}
	if !v.Trusted {
		mode = min(mode, xcastMulti)
	}
	v.xcast = mode
	p.setL2Filter(i)
	m[1] = mode
	return nil
}
