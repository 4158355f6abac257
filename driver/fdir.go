package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// FlowDirector selects how the Flow Director finds the filter of a frame (7.1.2.7). Its
// filters are in the packet buffer, which loses 64 KiB.
type FlowDirector uint8

const (
	// NoFlowDirector: the packet buffer is whole.
	NoFlowDirector FlowDirector = iota

	// PerfectFlows: filters compare their fields, 1023 of them. Of an IPv6 packet the
	// source is compared and not the destination.
	PerfectFlows

	// SignatureFlows: filters compare 30 bits of two hashes of their fields, 4095 of
	// them. Another frame may have the same ones, so they drop nothing.
	SignatureFlows
)

const (
	flowMemory   = 64 // KiB, FDIRCTRL.PBALLOC = 1
	flowHashBits = 15
	perfectBits  = 13 // of the hash of perfect filters
)

// capacity is the number of filters that fit the memory (8.2.3.21.1).
func (d FlowDirector) capacity() int {
	return [...]int{PerfectFlows: 2<<10 - 2, SignatureFlows: 8<<10 - 2}[d]
}

// flowTypes are the values of FDIRCMD.L4TYPE by protocol.
var flowTypes = map[uint8]uint32{ProtocolUDP: 1, ProtocolTCP: 2, ProtocolSCTP: 3}

// The keys of the two hashes, as Linux and DPDK set them.
const (
	flowBucketKey    = 0x3dad14e2
	flowSignatureKey = 0x174d3614
)

// initFlowDirector initialises the Flow Director, if it is used, before reception is
// enabled (4.6.7).
func (p *Port) initFlowDirector() error {
	if p.cfg.FlowDirector == NoFlowDirector {
		return nil
	}
	p.store(reg.FDIRHKEY, flowBucketKey)
	p.store(reg.FDIRSKEY, flowSignatureKey)
	return p.clearFlows()
}

// clearFlows initialises the table of filters. A table in use is cleared by FDIRCMD
// first (Linux, ixgbe_reinit_fdir_tables_82599).
func (p *Port) clearFlows() error {
	if err := p.flowCommandDone(); err != nil {
		return err
	}
	p.change(reg.FDIRCMD, to(reg.FDIRCMD_CLEARHT, 1))
	p.flush()
	p.change(reg.FDIRCMD, to(reg.FDIRCMD_CLEARHT, 0))
	p.store(reg.FDIRHASH, 0)
	v := reg.FDIRCTRL_PBALLOC.Val(1) | reg.FDIRCTRL_DROP_QUEUE.Val(dropQueue) |
		reg.FDIRCTRL_FLEX_OFFSET.Val(uint32(p.cfg.FlexOffset/2)) |
		reg.FDIRCTRL_MAX_LENGTH.Val(0xa) | reg.FDIRCTRL_FULL_THRESH.Val(4)
	if p.cfg.FlowDirector == PerfectFlows {
		v |= reg.FDIRCTRL_PERFECT_MATCH.Val(1)
	}
	p.store(reg.FDIRCTRL, v)
	return p.wait(reg.FDIRCTRL, 100*time.Millisecond, to(reg.FDIRCTRL_INIT_DONE, 1))
}

// compared is the set of fields that the filters of the Flow Director compare. Addresses
// are prefix lengths, -1: not compared.
type compared struct {
	src4, dst4, src6, dst6             int
	protocol, sport, dport, vlan, flex bool
}

// comparedBy returns the fields of filters; an error says why they differ.
func comparedBy(list []Filter) (c compared, err error) {
	c = compared{src4: -1, dst4: -1, src6: -1, dst6: -1}
	seen := map[int]bool{}
	for i, f := range list {
		one := compared{protocol: f.Protocol != 0, sport: f.SrcPort != 0, dport: f.DstPort != 0, vlan: f.VLAN != 0, flex: f.Flex != nil}
		one.src4, one.dst4, one.src6, one.dst6 = c.src4, c.dst4, c.src6, c.dst6
		src, dst := -1, -1
		if f.Src.IsValid() {
			src = f.Src.Bits()
		}
		if f.Dst.IsValid() {
			dst = f.Dst.Bits()
		}
		if f.Family != 6 && !seen[4] {
			one.src4, one.dst4 = src, dst
		}
		if f.Family != 4 && !seen[6] {
			one.src6, one.dst6 = src, dst
		}
		differs := f.Family != 6 && (one.src4 != src || one.dst4 != dst) || f.Family != 4 && (one.src6 != src || one.dst6 != dst)
		seen[4], seen[6] = seen[4] || f.Family != 6, seen[6] || f.Family != 4
		if i > 0 {
			before := c
			before.src4, before.dst4, before.src6, before.dst6 = one.src4, one.dst4, one.src6, one.dst6
			differs = differs || before != one
		}
		if differs {
			return c, errors.New("all filters of the Flow Director compare the same fields, and this one others than the first")
		}
		c = one
	}
	return c, nil
}

// checkFlow returns why the Flow Director cannot apply f beside the other filters.
func checkFlow(f Filter, others []placed, mode FlowDirector) error {
	if f.Drop && mode == SignatureFlows {
		return errors.New("signature filters drop nothing, because other frames may match them: use PerfectFlows")
	}
	if f.Family != 4 && f.Dst.IsValid() && mode == PerfectFlows {
		return fmt.Errorf("destination %s: perfect filters of the Flow Director compare no IPv6 destination", f.Dst)
	}
	if f.Protocol == ProtocolSCTP && (f.SrcPort != 0 || f.DstPort != 0) {
		// Linux sets FDIRSCTPM on the X550 family only, DPDK refuses such a filter on others.
		return errors.New("the Flow Director compares no ports of SCTP: 5-tuple filters of whole IPv4 addresses do")
	}
	for _, a := range []netip.Prefix{f.Src, f.Dst} {
		if f.Family == 6 && a.IsValid() && a.Bits()%8 != 0 {
			return fmt.Errorf("prefix %s: the Flow Director masks whole bytes of IPv6 addresses", a)
		}
	}
	list := []Filter{}
	for _, x := range others {
		list = append(list, x.Filter)
	}
	if _, err := comparedBy(append(list, f)); err != nil {
		return err
	}
	for _, x := range others {
		if x.queue() != f.queue() && sameFlow(&x.Filter, &f, mode) {
			return fmt.Errorf("filter %d of the Flow Director matches the same frames and has another queue: remove one of them", x.Index+1)
		}
	}
	return nil
}

// sameFlow reports whether the Flow Director takes two filters for one, in one of the
// families. The hashes of signature filters are equal with source and destination exchanged.
func sameFlow(a, b *Filter, mode FlowDirector) bool {
	for _, family := range []int{4, 6} {
		if a.Family != 0 && a.Family != family || b.Family != 0 && b.Family != family {
			continue
		}
		x, y := newFlowFields(a, family), newFlowFields(b, family)
		if x == y || mode == SignatureFlows && x.hash(flowBucketKey) == y.hash(flowBucketKey) && x.hash(flowSignatureKey) == y.hash(flowSignatureKey) {
			return true
		}
	}
	return false
}

// storeFlows replaces the filters of the Flow Director.
func (p *Port) storeFlows(list []placed) error {
	if p.cfg.FlowDirector == NoFlowDirector || len(list) == 0 && p.flows == 0 {
		return nil
	}
	var filters []Filter
	for _, x := range list {
		filters = append(filters, x.Filter)
	}
	c, err := comparedBy(filters)
	if err != nil {
		return err
	}
	if err := p.clearFlows(); err != nil {
		return err
	}
	p.storeFlowMasks(c)
	p.flows = len(list)
	id := uint32(0)
	for _, x := range list {
		for _, family := range []int{4, 6} {
			if x.Family != 0 && x.Family != family {
				continue
			}
			if err := p.addFlow(x, family, id); err != nil {
				return fmt.Errorf("add filter %d of the Flow Director: %w", x.Index+1, err)
			}
			id++
		}
	}
	return nil
}

// storeFlowMasks sets which fields are compared: a bit that is set in a mask is not.
func (p *Port) storeFlowMasks(c compared) {
	any := func(compare bool) uint32 {
		if compare {
			return 0
		}
		return 1
	}
	p.store(reg.FDIRM, reg.FDIRM_VLANID.Val(any(c.vlan))|reg.FDIRM_VLANP.Val(1)|reg.FDIRM_POOL.Val(1)|
		reg.FDIRM_L4P.Val(any(c.protocol))|reg.FDIRM_FLEX.Val(any(c.flex))|reg.FDIRM_DIPV6.Val(any(c.dst6 >= 0)))
	ports := reg.FDIRPORT_SRC.Val(any(c.sport)*0xffff) | reg.FDIRPORT_DST.Val(any(c.dport)*0xffff)
	for _, r := range []reg.Register{reg.FDIRTCPM, reg.FDIRUDPM, reg.FDIRSCTPM} {
		p.store(r, ports)
	}
	mask4 := func(length int) uint32 {
		return bits.ReverseBytes32(^uint32(0) >> max(length, 0)) // a shift by 32 gives 0
	}
	p.store(reg.FDIRSIP4M, mask4(c.src4))
	p.store(reg.FDIRDIP4M, mask4(c.dst4))
	mask6 := func(length int) uint32 { return 0xffff << (max(length, 0) / 8) & 0xffff }
	p.store(reg.FDIRIP6M, mask6(c.src6)|mask6(c.dst6)<<16)
}

// addFlow adds the filter with that number, for one family.
func (p *Port) addFlow(x placed, family int, id uint32) error {
	f := newFlowFields(&x.Filter, family)
	hash := f.hash(flowBucketKey)
	if p.cfg.FlowDirector == PerfectFlows {
		hash &= 1<<perfectBits - 1
	} else {
		id = f.hash(flowSignatureKey)
	}
	for i := range reg.FDIRSIPV6(0).Row().N() {
		p.store(reg.FDIRSIPV6(i), wireOrder(f.src[i]))
	}
	last := 0
	if family == 6 {
		last = 3
	}
	p.store(reg.FDIRIPSA, wireOrder(f.src[last]))
	p.store(reg.FDIRIPDA, wireOrder(f.dst[0]))
	p.store(reg.FDIRPORT, reg.FDIRPORT_SRC.Val(uint32(x.SrcPort))|reg.FDIRPORT_DST.Val(uint32(x.DstPort)))
	p.store(reg.FDIRVLAN, reg.FDIRVLAN_VLAN.Val(uint32(x.VLAN))|reg.FDIRVLAN_FLEX.Val(uint32(bits.ReverseBytes16(f.flex))))
	p.store(reg.FDIRHASH, reg.FDIRHASH_HASH.Val(hash)|reg.FDIRHASH_ID.Val(id))
	p.flush()
	cmd := reg.FDIRCMD_CMD.Val(1) | reg.FDIRCMD_FILTER_UPDATE.Val(1) | reg.FDIRCMD_LAST.Val(1) | reg.FDIRCMD_QUEUE_EN.Val(1) |
		reg.FDIRCMD_L4TYPE.Val(flowTypes[x.Protocol]) | reg.FDIRCMD_RX_QUEUE.Val(x.queue())
	if family == 6 {
		cmd |= reg.FDIRCMD_IPV6.Val(1)
	}
	if x.Drop {
		cmd |= reg.FDIRCMD_DROP.Val(1)
	}
	p.store(reg.FDIRCMD, cmd)
	return p.flowCommandDone()
}

// flowCommandDone waits until the last command is done.
func (p *Port) flowCommandDone() error {
	return p.wait(reg.FDIRCMD, 100*time.Millisecond, to(reg.FDIRCMD_CMD, 0))
}

// wireOrder returns the value of a register whose bytes are in the order of the wire.
func wireOrder(v uint32) uint32 { return bits.ReverseBytes32(v) }

// flowFields are the fields that the Flow Director hashes, as 32-bit words in the order
// of the wire. Fields that are not compared are 0.
type flowFields struct {
	first uint32 // flow type and VLAN
	dst   [4]uint32
	src   [4]uint32
	ports uint32
	flex  uint16
}

func newFlowFields(x *Filter, family int) (f flowFields) {
	kind := flowTypes[x.Protocol]
	if family == 6 {
		kind |= 4
	}
	f.first = kind<<16 | uint32(x.VLAN)
	words := func(to *[4]uint32, a netip.Prefix) {
		b := a.Masked().Addr().AsSlice()
		for i := 0; i < len(b); i += 4 {
			to[i/4] = binary.BigEndian.Uint32(b[i:])
		}
	}
	words(&f.dst, x.Dst)
	words(&f.src, x.Src)
	f.ports = uint32(x.SrcPort)<<16 | uint32(x.DstPort)
	if x.Flex != nil {
		f.flex = binary.BigEndian.Uint16(x.Flex[:])
	}
	return f
}

// hash returns the Flow Director's hash (7.1.2.7.5) as Linux folds it
// (ixgbe_atr_compute_perfect_hash_82599): bit n of the key adds the words, shifted by
// n, of which all but the first count together.
func (f *flowFields) hash(key uint32) (h uint32) {
	sum := f.ports ^ uint32(f.flex)<<16
	for i := range f.dst {
		sum ^= f.dst[i] ^ f.src[i]
	}
	odd := sum ^ f.first ^ f.first>>16
	even := sum<<16 | sum>>16
	if key&1 != 0 {
		h = even
	}
	even ^= f.first ^ f.first<<16
	for n := 1; n < 16; n++ {
		if key&(1<<n) != 0 {
			h ^= even >> n
		}
	}
	for n := range 16 {
		if key&(1<<(n+16)) != 0 {
			h ^= odd >> n
		}
	}
	return h & (1<<flowHashBits - 1)
}
