package driver

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"strings"
	"sync"

	"github.com/ixcap/ixcap/driver/internal/reg"
	"github.com/ixcap/ixcap/ring"
)

// Virtualization (7.10): the port's queues form pools, and virtual function k has pool
// k. The port itself has the pool behind them, which is also the default pool: it gets
// what is for none of the functions.
//
//	network ──► addresses, VLANs ──┬──► pool 0: virtual function 0
//	   ▲                           ├──► pool 1: virtual function 1
//	   │         switch ───────────┤      ...
//	   └──── of frames sent ◄──────┴──► default pool: this port
//	                               └──► mirror rules: one more pool

const (
	// MaxVFs is the largest number of virtual functions: 64 pools, one of which is the
	// port's.
	MaxVFs = 63

	// MirrorRules is the number of mirror rules.
	MirrorRules = 4

	receiveAddresses = 128
	poolVLANs        = 64
)

// pools are the pools of a port. Without virtual functions count is 0.
type pools struct {
	count int // virtual functions; also the number of the port's pool
	size  int // queues of a pool, 4 or 2
	first int // the port's first queue

	mu       sync.Mutex // guards the following, and the registers of filters
	vfs      []vf
	kick     chan struct{} // a message may have come
	vlans    [poolVLANs]poolVLAN
	mirrored [MirrorRules]MirrorRule
}

// poolVLAN is an entry of PFVLVF. It is free if it has neither functions nor rules.
type poolVLAN struct {
	id    uint16
	pools uint64 // functions in the VLAN
	rules uint8  // mirror rules that select it
}

func (v *poolVLAN) used() bool { return v.pools != 0 || v.rules != 0 }

// configure sets the pools of a configuration.
func (p *pools) configure(c Config) {
	p.count, p.kick = len(c.VFs), make(chan struct{}, 1)
	if p.count == 0 {
		return
	}
	p.size = poolSize(p.count)
	p.first = p.count * p.size
	for _, x := range c.VFs {
		v := vf{VF: x}
		if v.MAC == nil {
			v.MAC = randomMAC()
		}
		p.vfs = append(p.vfs, v)
	}
}

// randomMAC returns a station address that is administered locally.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac) // it does not fail
	mac[0] = mac[0]&^1 | 2
	return mac
}

// poolSize returns the number of queues of a pool.
func poolSize(vfs int) int {
	if vfs < 32 {
		return 4
	}
	return 2
}

// rssQueues returns over how many queues the indirection table spreads frames.
func (c Config) rssQueues() int {
	if len(c.VFs) > 0 {
		return poolSize(len(c.VFs))
	}
	return c.Queues
}

// CheckVFs returns an error if the virtual functions of a configuration are invalid.
func (c Config) CheckVFs() error {
	if _, ok := mailVersionOf(c.VFMailbox); !ok {
		return fmt.Errorf("mailbox version %q of virtual functions: want 1.0 to 1.5", c.VFMailbox)
	}
	if len(c.VFs) == 0 {
		return nil
	}
	size := poolSize(len(c.VFs))
	switch {
	case len(c.VFs) > MaxVFs:
		return fmt.Errorf("%d virtual functions: want at most %d", len(c.VFs), MaxVFs)
	case c.Queues > 1 && c.Queues != size:
		return fmt.Errorf("queues %d: with %d virtual functions want 1 or %d", c.Queues, len(c.VFs), size)
	case c.KeepCRC:
		return errors.New("virtual functions without KeepCRC only: their drivers expect frames without")
	case c.TxQueues > size:
		return fmt.Errorf("transmit queues %d: with %d virtual functions want at most %d", c.TxQueues, len(c.VFs), size)
	}
	for i, v := range c.VFs {
		if err := v.check(); err != nil {
			return fmt.Errorf("virtual function %d: %w", i, err)
		}
	}
	return nil
}

// mrqe and mtqc are the modes of MRQC and MTQC: RSS, within pools if there are any.
func (p *pools) mrqe() uint32 {
	switch p.size {
	case 4:
		return 10
	case 2:
		return 11
	}
	return 1
}

func (p *pools) mtqc() uint32 {
	if p.count == 0 {
		return 0
	}
	return reg.MTQC_VT_ENA.Val(1) | reg.MTQC_NUM.Val(map[int]uint32{4: 2, 2: 1}[p.size])
}

// setPools configures the pools (7.10.3). The tables are random after power-up.
func (p *Port) setPools() {
	if p.pools.count == 0 {
		return
	}
	p.change(reg.GCR_EXT, to(reg.GCR_EXT_VT_MODE, map[int]uint32{4: 2, 2: 3}[p.pools.size]))
	own := p.pools.count
	for i := range receiveAddresses {
		if i > 0 {
			p.store(reg.RAL(i), 0)
			p.store(reg.RAH(i), 0)
		}
		p.setPoolMask(reg.MPSAR, i, 0)
	}
	p.setPoolMask(reg.MPSAR, 0, 1<<own)
	for i := range poolVLANs {
		p.store(reg.PFVLVF(i), 0)
		p.setPoolMask(reg.PFVLVFB, i, 0)
		p.store(reg.PFVML2FLT(i), 0)
		p.store(reg.PFVMVIR(i), 0)
	}
	for i := range 128 {
		p.store(reg.MTA(i), 0)
		p.store(reg.PFUTA(i), ^uint32(0)) // for functions that are promiscuous
		p.store(reg.VFTA(i), ^uint32(0))  // the port has every VLAN; PFVLVF decides for the functions
	}
	p.change(reg.MCSTCTRL, to(reg.MCSTCTRL_MFE, 1))
	p.change(reg.VLNCTRL, to(reg.VLNCTRL_VFE, 1))
	p.store(reg.PFVML2FLT(own), reg.PFVML2FLT_AUPE.Mask()|reg.PFVML2FLT_BAM.Mask()|reg.PFVML2FLT_MPE.Mask())
	p.store(reg.PSRTYPE(own), reg.PSRTYPE_RQPL.Val(uint32(bits.Len(uint(p.cfg.Queues))-1)))
	for i := range MirrorRules {
		p.store(reg.PFMRCTL(i), 0)
	}
	for i := range 8 {
		p.store(reg.PFVFSPOOF(i), 0)
	}
	for i := range 2 {
		var word uint32
		if own/32 == i {
			word = 1 << (own % 32)
		}
		p.store(reg.PFVFRE(i), word)
		p.store(reg.PFVFTE(i), word)
		p.store(reg.VMECM(i), ^uint32(0))
		p.store(reg.PFMBIMR(i), ^uint32(0))
	}
	p.store(reg.PFDTXGSWC, reg.PFDTXGSWC_LBE.Val(1))
	p.store(reg.PFVTCTL, reg.PFVTCTL_VT_ENA.Val(1)|reg.PFVTCTL_DEF_PL.Val(uint32(own))|reg.PFVTCTL_RPL_EN.Val(1))
}

// setPoolMask stores a set of pools in words 2i and 2i+1 of an array.
func (p *Port) setPoolMask(r reg.Array, i int, pools uint64) {
	p.store(r(2*i), uint32(pools))
	p.store(r(2*i+1), uint32(pools>>32))
}

// setPoolBit sets or clears the bit of a function in an array of two words.
func (p *Port) setPoolBit(r reg.Array, function int, on bool) {
	word := r(function / 32)
	v := p.load(word) &^ (1 << (function % 32))
	if on {
		v |= 1 << (function % 32)
	}
	p.store(word, v)
}

// setAddress stores receive address i for a function; nil frees it.
func (p *Port) setAddress(i, function int, mac net.HardwareAddr) {
	if mac == nil {
		p.store(reg.RAH(i), 0)
		p.setPoolMask(reg.MPSAR, i, 0)
		return
	}
	p.store(reg.RAL(i), binary.LittleEndian.Uint32(mac))
	p.setPoolMask(reg.MPSAR, i, 1<<function)
	p.store(reg.RAH(i), uint32(binary.LittleEndian.Uint16(mac[4:]))|reg.RAH_AV.Mask())
}

// setVLAN adds a function to a VLAN or removes it. It returns false if the chip has
// no entry left for the VLAN. The port is in all VLANs.
func (p *Port) setVLAN(function int, vlan uint16, add bool) bool {
	entry := p.pools.vlanEntry(vlan, add)
	if entry < 0 {
		return !add
	}
	v := &p.pools.vlans[entry]
	if add {
		v.pools |= 1 << function
	} else {
		v.pools &^= 1 << function
	}
	p.storeVLAN(entry)
	return true
}

// storeVLAN stores entry i of the VLANs.
func (p *Port) storeVLAN(i int) {
	v := &p.pools.vlans[i]
	if !v.used() {
		p.store(reg.PFVLVF(i), 0)
		p.setPoolMask(reg.PFVLVFB, i, 0)
		return
	}
	p.setPoolMask(reg.PFVLVFB, i, v.pools|1<<p.pools.count)
	p.store(reg.PFVLVF(i), reg.PFVLVF_VI_EN.Mask()|reg.PFVLVF_VLAN_ID.Val(uint32(v.id)))
}

// leaveVLANs removes a function from all VLANs.
func (p *Port) leaveVLANs(function int) {
	for i := range p.pools.vlans {
		if v := &p.pools.vlans[i]; v.pools&(1<<function) != 0 {
			p.setVLAN(function, v.id, false)
		}
	}
}

// vlanEntry returns the entry that has a VLAN, or with add a free one for it; -1 for none.
func (p *pools) vlanEntry(vlan uint16, add bool) int {
	free := -1
	for i := range p.vlans {
		switch v := &p.vlans[i]; {
		case v.used() && v.id == vlan:
			return i
		case !v.used() && free < 0:
			free = i
		}
	}
	if !add || free < 0 {
		return -1
	}
	p.vlans[free].id = vlan
	return free
}

// MirrorRule selects frames that a port gives to one more pool. What it selects adds up.
type MirrorRule struct {
	To int // virtual function that gets the frames; ToPort = the port itself

	Functions []int    // frames for these virtual functions
	Uplink    bool     // frames from the network
	Downlink  bool     // frames that functions and the port send to the network
	VLANs     []uint16 // frames in these VLANs
}

// none reports whether the rule selects nothing.
func (r MirrorRule) none() bool {
	return len(r.Functions) == 0 && !r.Uplink && !r.Downlink && len(r.VLANs) == 0
}

// String is the rule in one line, such as "frames for functions 0 1, downlink to function 2".
func (r MirrorRule) String() string {
	to := "the port"
	if r.To != ToPort {
		to = fmt.Sprintf("function %d", r.To)
	}
	var what []string
	if len(r.Functions) > 0 {
		what = append(what, "frames for functions "+listOf(r.Functions))
	}
	if r.Uplink {
		what = append(what, "uplink")
	}
	if r.Downlink {
		what = append(what, "downlink")
	}
	if len(r.VLANs) > 0 {
		what = append(what, "VLANs "+listOf(r.VLANs))
	}
	if r.none() {
		what = []string{"nothing"}
	}
	return strings.Join(what, ", ") + " to " + to
}

func listOf[T any](all []T) string { return strings.Trim(fmt.Sprint(all), "[]") }

// Check returns an error if the rule is invalid on a port with that many functions.
func (r MirrorRule) Check(functions int) error {
	if r.To < ToPort || r.To >= functions {
		return fmt.Errorf("to virtual function %d of %d", r.To, functions)
	}
	for _, f := range r.Functions {
		if f < 0 || f >= functions {
			return fmt.Errorf("virtual function %d of %d", f, functions)
		}
	}
	for _, vlan := range r.VLANs {
		if vlan > maxVLAN {
			return fmt.Errorf("VLAN %d: want 0 to %d", vlan, maxVLAN)
		}
	}
	return nil
}

// ToPort is the port that offers the virtual functions, as the target of a mirror rule.
const ToPort = -1

// Mirror sets mirror rule i, below MirrorRules; the zero rule ends it. A function that
// sends a frame does not get a copy of it.
func (p *Port) Mirror(i int, r MirrorRule) error {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	fail := func(format string, args ...any) error {
		return fmt.Errorf("set mirror rule %d of %s: %w", i, p.dev.Name(), fmt.Errorf(format, args...))
	}
	switch {
	case i < 0 || i >= MirrorRules:
		return fail("want 0 to %d", MirrorRules-1)
	case p.pools.count == 0:
		return fail("the port has no virtual functions: open it with Config.VFs")
	}
	if err := r.Check(p.pools.count); err != nil {
		return fail("%w", err)
	}
	if !p.pools.mirrorVLANs(i, r.VLANs) {
		return fail("VLANs %s: the chip filters %d VLANs, and all are in use", listOf(r.VLANs), poolVLANs)
	}
	p.pools.mirrored[i] = r
	p.storeMirror(i)
	if err := p.err(); err != nil {
		return fail("%w", err)
	}
	return nil
}

// MirrorRules returns the mirror rules that are set, by their number.
func (p *Port) MirrorRules() map[int]MirrorRule {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	all := map[int]MirrorRule{}
	for i, r := range p.pools.mirrored {
		if !r.none() {
			all[i] = r
		}
	}
	return all
}

// mirrorVLANs makes rule i select these VLANs in the list of VLANs, and reports whether
// there are entries for all. Else nothing is changed.
func (p *pools) mirrorVLANs(i int, vlans []uint16) bool {
	before := p.vlans
	for k := range p.vlans {
		p.vlans[k].rules &^= 1 << i
	}
	for _, vlan := range vlans {
		entry := p.vlanEntry(vlan, true)
		if entry < 0 {
			p.vlans = before
			return false
		}
		p.vlans[entry].rules |= 1 << i
	}
	return true
}

// storeMirror stores mirror rule i and the VLANs.
func (p *Port) storeMirror(i int) {
	r := p.pools.mirrored[i]
	var functions, vlans uint64
	for _, f := range r.Functions {
		functions |= 1 << f
	}
	for k := range p.pools.vlans {
		p.storeVLAN(k)
		vlans |= uint64(p.pools.vlans[k].rules>>i&1) << k
	}
	pool := r.To
	if r.To == ToPort {
		pool = p.pools.count
	}
	p.store(reg.PFMRCTL(i), 0)
	p.store(reg.PFMRVM(i), uint32(functions))
	p.store(reg.PFMRVM(i+MirrorRules), uint32(functions>>32))
	p.store(reg.PFMRVLAN(i), uint32(vlans))
	p.store(reg.PFMRVLAN(i+MirrorRules), uint32(vlans>>32))
	p.store(reg.PFMRCTL(i), reg.PFMRCTL_MP.Val(uint32(pool))|reg.PFMRCTL_VPME.Val(bit(functions != 0))|
		reg.PFMRCTL_UPME.Val(bit(r.Uplink))|reg.PFMRCTL_DPME.Val(bit(r.Downlink))|reg.PFMRCTL_VLME.Val(bit(vlans != 0)))
}

// restorePools sets after a reset of the port what setPools does not: the mirror rules. Its
// functions have to begin anew. The caller holds p.pools.mu.
func (p *Port) restorePools() error {
	for i := range p.pools.vfs {
		v := &p.pools.vfs[i]
		*v = vf{VF: v.VF, requests: v.requests, refused: v.refused}
	}
	for k := range p.pools.vlans {
		p.pools.vlans[k].pools = 0
	}
	for i := range p.pools.mirrored {
		if p.pools.count > 0 {
			p.storeMirror(i)
		}
	}
	return nil
}

// progressOfPools returns what receiveStalled compares on a port with virtual functions: the
// frames that have reached any pool, a value that changes when a frame is written for any,
// and whether all can be written. It cannot tell while a function is not in use, or has no
// descriptors: frames for it are not written, and not all of them are counted.
func (p *Port) progressOfPools() (wire, written uint64, able bool) {
	p.stats.mu.Lock()
	wire = p.stats.of(gprc, 0)
	p.stats.mu.Unlock()
	p.health.elsewhere += uint64(p.load(reg.QPRDC(QueueCounters - 1)))
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	able = true
	for _, v := range p.pools.vfs {
		able = able && v.ready && !v.Disabled
	}
	for q := range p.pools.first + len(p.rx) {
		if reg.RXDCTL_ENABLE.Of(p.load(reg.RXDCTL(q))) == 0 {
			continue
		}
		head := p.load(reg.RDH(q))
		written = written*ring.MaxSize + written>>48 + uint64(head)
		able = able && head != p.load(reg.RDT(q))
	}
	return wire, written, able
}
