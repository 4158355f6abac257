package driver

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"slices"
	"sync"

	"github.com/ixcap/ixcap/driver/internal/reg"
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
	vlanUser [poolVLANs]uint64
}

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
			mac := make(net.HardwareAddr, 6)
			_, _ = rand.Read(mac) // it does not fail
			mac[0] = mac[0]&^1 | 2
			v.MAC = mac
		}
		p.vfs = append(p.vfs, v)
	}
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

// checkVFs returns an error if the virtual functions of a configuration are invalid.
func (c Config) checkVFs() error {
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
	case c.Queues != 1 && c.Queues != size:
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
	entry := p.vlanEntry(vlan)
	if entry < 0 && add {
		entry = slices.Index(p.pools.vlanUser[:], 0)
	}
	if entry < 0 {
		return !add
	}
	users := &p.pools.vlanUser[entry]
	if add {
		*users |= 1 << function
	} else if *users &^= 1 << function; *users == 0 {
		p.store(reg.PFVLVF(entry), 0)
		p.setPoolMask(reg.PFVLVFB, entry, 0)
		return true
	}
	p.setPoolMask(reg.PFVLVFB, entry, *users|1<<p.pools.count)
	p.store(reg.PFVLVF(entry), reg.PFVLVF_VI_EN.Mask()|reg.PFVLVF_VLAN_ID.Val(uint32(vlan)))
	return true
}

// leaveVLANs removes a function from all VLANs.
func (p *Port) leaveVLANs(function int) {
	for i, users := range p.pools.vlanUser {
		if users&(1<<function) != 0 {
			p.setVLAN(function, uint16(reg.PFVLVF_VLAN_ID.Of(p.load(reg.PFVLVF(i)))), false)
		}
	}
}

// MirrorRule selects frames that a port gives to one more pool. What it selects adds up.
type MirrorRule struct {
	To int // virtual function that gets the frames; ToPort = the port itself

	Functions []int    // frames for these virtual functions
	Uplink    bool     // frames from the network
	Downlink  bool     // frames that functions and the port send to the network
	VLANs     []uint16 // frames in these VLANs, which some function must be in
}

// ToPort is the port that offers the virtual functions, as the target of a mirror rule.
const ToPort = -1

// Mirror sets mirror rule i, below MirrorRules; the zero rule ends it. A function that
// sends a frame does not get a copy of it.
func (p *Port) Mirror(i int, r MirrorRule) error {
	p.pools.mu.Lock()
	defer p.pools.mu.Unlock()
	fail := func(format string, args ...any) error {
		return fmt.Errorf("set mirror rule %d of %s: %s", i, p.dev.Name(), fmt.Sprintf(format, args...))
	}
	switch {
	case i < 0 || i >= MirrorRules:
		return fail("want 0 to %d", MirrorRules-1)
	case p.pools.count == 0:
		return fail("the port has no virtual functions: open it with Config.VFs")
	case r.To < ToPort || r.To >= p.pools.count:
		return fail("to virtual function %d of %d", r.To, p.pools.count)
	}
	var functions, vlans uint64
	for _, f := range r.Functions {
		if f < 0 || f >= p.pools.count {
			return fail("virtual function %d of %d", f, p.pools.count)
		}
		functions |= 1 << f
	}
	for _, vlan := range r.VLANs {
		entry := p.vlanEntry(vlan)
		if entry < 0 {
			return fail("VLAN %d: no virtual function is in it", vlan)
		}
		vlans |= 1 << entry
	}
	pool := r.To
	if r.To == ToPort {
		pool = p.pools.count
	}
	flag := func(f reg.Field, on bool) uint32 {
		if on {
			return f.Mask()
		}
		return 0
	}
	p.store(reg.PFMRCTL(i), 0)
	p.store(reg.PFMRVM(i), uint32(functions))
	p.store(reg.PFMRVM(i+MirrorRules), uint32(functions>>32))
	p.store(reg.PFMRVLAN(i), uint32(vlans))
	p.store(reg.PFMRVLAN(i+MirrorRules), uint32(vlans>>32))
	p.store(reg.PFMRCTL(i), reg.PFMRCTL_MP.Val(uint32(pool))|flag(reg.PFMRCTL_VPME, functions != 0)|
		flag(reg.PFMRCTL_UPME, r.Uplink)|flag(reg.PFMRCTL_DPME, r.Downlink)|flag(reg.PFMRCTL_VLME, vlans != 0))
	if err := p.err(); err != nil {
		return fail("%v", err)
	}
	return nil
}

// vlanEntry returns the entry of PFVLVF that has a VLAN, -1 for none.
func (p *Port) vlanEntry(vlan uint16) int {
	for i, users := range p.pools.vlanUser {
		if users != 0 && reg.PFVLVF_VLAN_ID.Of(p.load(reg.PFVLVF(i))) == uint32(vlan) {
			return i
		}
	}
	return -1
}
