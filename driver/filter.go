package driver

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Filter sends the frames that match all of its conditions to a queue, or drops them,
// before RSS. A zero condition matches any frame. Frames that the chip does not know as
// IP (QinQ, MPLS, PPPoE, fragments where ports are compared) match an EtherType at most.
//
// The chip has four kinds of filters (7.1.2): EtherType filters; a SYN filter; 5-tuple
// filters, which compare whole IPv4 addresses and ports; and the Flow Director
// (Config.FlowDirector), which also compares prefixes, IPv6 addresses, VLANs and
// flexible bytes, but the same fields in all its filters. It has no "all but": frames
// that match no filter are received.
type Filter struct {
	EtherType uint16       // behind a VLAN tag, if there is one; not that of IP
	Family    int          // 4 or 6: IP version
	Src, Dst  netip.Prefix // of the family
	Protocol  uint8        // ProtocolTCP, ProtocolUDP or ProtocolSCTP
	SrcPort   uint16
	DstPort   uint16
	SYN       bool     // TCP with the flag SYN; no other condition
	VLAN      uint16   // ID of the 802.1Q tag
	Flex      *[2]byte // bytes at Config.FlexOffset

	Drop  bool // the frames are dropped and counted (Stats.Filtered)
	Queue int  // receive queue otherwise
}

// Protocols that filters compare.
const (
	ProtocolTCP  = 6
	ProtocolUDP  = 17
	ProtocolSCTP = 132
)

// Place is where the chip has a filter.
type Place struct {
	Engine Engine
	Index  int // among the filters of the engine
}

// Engine is a kind of filters of the chip. One that comes first decides first.
type Engine uint8

const (
	EtherTypeFilter Engine = iota
	SYNFilter              // its place before or behind the 5-tuple filters can be chosen
	TupleFilter
	FlowDirectorFilter
)

// String returns the kind in words.
func (e Engine) String() string {
	return [...]string{"EtherType filter", "SYN filter", "5-tuple filter", "Flow Director"}[e]
}

func (p Place) String() string { return fmt.Sprintf("%s %d", p.Engine, p.Index) }

// dropQueue is the queue of frames that filters drop. It is never enabled, and its drops
// are those of the last counter.
const dropQueue = 127

// canDrop reports whether the port has a counter for frames that filters drop: a port
// with 16 queues or more needs all of them.
func (c *Config) canDrop() bool {
	// With virtual functions there are no filters, and the last counter has what their
	// queues drop.
	return c.Queues < QueueCounters && len(c.VFs) == 0
}

// queue is the queue of the chip that the filter selects.
func (f *Filter) queue() uint32 {
	if f.Drop {
		return dropQueue
	}
	return uint32(f.Queue)
}

// SetFilters replaces all filters; of several that match a frame the first decides. It
// returns the place of each, or an error that names the filter which the chip cannot
// apply, and then changes nothing. Filters can be set while frames arrive: none is
// lost, and those that arrive during the change match the old, the new, or no filter.
func (p *Port) SetFilters(filters []Filter) ([]Place, error) {
	p.lockState()
	defer p.state.Unlock()
	fail := func(err error) ([]Place, error) {
		return nil, fmt.Errorf("set filters of %s: %w", p.dev.Name(), err)
	}
	if p.closed {
		return fail(fmt.Errorf("port is closed: %w", os.ErrClosed))
	}
	if err := p.physical("set filters"); err != nil {
		return nil, err
	}
	if p.pools.count > 0 {
		return fail(errors.New("the port has virtual functions, whose addresses and VLANs decide"))
	}
	plan, err := p.cfg.place(filters)
	if err != nil {
		return fail(err)
	}
	if err := p.storePlan(plan); err != nil {
		return fail(err)
	}
	if err := p.err(); err != nil {
		return fail(err)
	}
	return plan.places(), nil
}

// PlaceFilters returns where a port of the configuration would have filters, as
// SetFilters does, without a port.
func (c Config) PlaceFilters(filters []Filter) ([]Place, error) {
	c.Queues = max(c.Queues, 1)
	plan, err := c.place(filters)
	return plan.places(), err
}

// storePlan replaces the filters of all engines.
func (p *Port) storePlan(all plan) error {
	p.plan = all
	p.storeEtherTypes(all.of(EtherTypeFilter))
	p.storeSYN(all)
	p.storeTuples(all.of(TupleFilter))
	return p.storeFlows(all.of(FlowDirectorFilter))
}

// placed is a filter with its place.
type placed struct {
	Place
	Filter
	priority uint32 // of a 5-tuple filter
}

type plan []placed

func (p plan) places() (list []Place) {
	for _, x := range p {
		list = append(list, x.Place)
	}
	return list
}

// of returns the filters of an engine.
func (p plan) of(e Engine) (list []placed) {
	for _, x := range p {
		if x.Engine == e {
			list = append(list, x)
		}
	}
	return list
}

// limits are the numbers of filters of the engines; the Flow Director's depends on its
// memory.
var engineLimits = [...]int{EtherTypeFilter: 8, SYNFilter: 1, TupleFilter: 128}

// limit is the number of filters of an engine that the caller can have.
func (c *Config) limit(e Engine) int {
	if e == EtherTypeFilter && c.Clock {
		return clockFilter
	}
	return engineLimits[e]
}

// highestPriority of a 5-tuple filter.
const highestPriority = 7

// place assigns each filter to an engine.
func (c *Config) place(filters []Filter) (plan, error) {
	var all plan
	var used [FlowDirectorFilter + 1]int
	priority := uint32(highestPriority)
	for i, f := range filters {
		e, err := f.engine(c)
		if err == nil {
			err = c.checkAction(&f)
		}
		if err == nil {
			err = inTurn(all, f, e)
		}
		switch {
		case err != nil:
		case e == FlowDirectorFilter:
			err = checkFlow(f, all.of(e), c.FlowDirector)
			if most := c.FlowDirector.capacity() / 2; used[e] >= most { // a filter of both families takes two
				err = fmt.Errorf("the Flow Director has room for %d filters", most)
			}
		case used[e] >= c.limit(e):
			err = fmt.Errorf("the chip has %d filters of this kind (%s)", c.limit(e), e)
		case e == TupleFilter:
			priority, err = nextPriority(all, f, priority)
		}
		if err != nil {
			return nil, fmt.Errorf("filter %d: %w", i+1, err)
		}
		all = append(all, placed{Place{e, used[e]}, f, priority})
		used[e]++
	}
	return all, nil
}

func (c *Config) checkAction(f *Filter) error {
	switch {
	case f.Drop && f.Queue != 0:
		return fmt.Errorf("queue %d and drop: want one of them", f.Queue)
	case f.Drop && !c.canDrop():
		return fmt.Errorf("a port with %d queues has no counter left for dropped frames: use at most %d", c.Queues, QueueCounters-1)
	case f.Queue < 0 || f.Queue >= c.Queues:
		return fmt.Errorf("queue %d: want 0 to %d", f.Queue, c.Queues-1)
	}
	return nil
}

// inTurn returns why the chip would let f decide before one of the filters in front of it.
func inTurn(all plan, f Filter, e Engine) error {
	for i, x := range all {
		syn := x.Engine == SYNFilter && e == TupleFilter || x.Engine == FlowDirectorFilter && e == SYNFilter
		switch {
		case x.queue() == f.queue(), syn && !f.mayBeTCP(), syn && !x.mayBeTCP():
		case x.Engine == FlowDirectorFilter && (e == TupleFilter || e == SYNFilter):
			return fmt.Errorf("it would decide before filter %d, which is one of the Flow Director: put filters of whole IPv4 addresses and of SYNs first", i+1)
		case x.Engine == SYNFilter && e == TupleFilter && len(all[:i].of(TupleFilter)) > 0:
			return fmt.Errorf("it would decide before filter %d, which is of SYNs: put that in front of all 5-tuple filters, or behind them", i+1)
		}
	}
	return nil
}

// mayBeTCP reports whether a frame of TCP may match.
func (f *Filter) mayBeTCP() bool { return f.Protocol == 0 || f.Protocol == ProtocolTCP }

// nextPriority returns the priority of a 5-tuple filter behind those placed. Filters in
// a row with one action share it; among them any may decide.
func nextPriority(all plan, f Filter, last uint32) (uint32, error) {
	tuples := all.of(TupleFilter)
	if len(tuples) == 0 || tuples[len(tuples)-1].queue() == f.queue() {
		return last, nil
	}
	if last == 1 {
		return 0, fmt.Errorf("5-tuple filters have %d priorities: put filters of one queue in a row", highestPriority)
	}
	return last - 1, nil
}

// engine returns the kind of filter that can apply f.
func (f *Filter) engine(c *Config) (Engine, error) {
	ip := *f // the conditions on IP
	ip.EtherType, ip.SYN, ip.Drop, ip.Queue = 0, false, false, 0
	switch {
	case f.EtherType != 0:
		if ip != (Filter{}) || f.SYN {
			return 0, errors.New("an EtherType filter has no other condition")
		}
		if f.EtherType == 0x0800 || f.EtherType == 0x86dd || f.EtherType == 0x8100 || f.EtherType < 0x600 {
			return 0, fmt.Errorf("EtherType %#04x: the chip would take its frames for no IP any more, or it is a length. Set Family, or VLAN", f.EtherType)
		}
		return EtherTypeFilter, nil
	case f.SYN:
		if ip.Protocol == ProtocolTCP {
			ip.Protocol = 0
		}
		if ip != (Filter{}) {
			return 0, errors.New("a SYN filter has no other condition")
		}
		return SYNFilter, nil
	}
	if err := f.checkIP(); err != nil {
		return 0, err
	}
	if ip == (Filter{}) {
		return 0, errors.New("no condition: use RSS for all frames")
	}
	why := f.notTuple()
	if why == "" {
		return TupleFilter, nil
	}
	if c.FlowDirector == NoFlowDirector {
		return 0, fmt.Errorf("%s: only the Flow Director can, which is off (Config.FlowDirector)", why)
	}
	return FlowDirectorFilter, nil
}

// checkIP checks that the conditions on IP fit together.
func (f *Filter) checkIP() error {
	if f.Family != 0 && f.Family != 4 && f.Family != 6 {
		return fmt.Errorf("family %d: want 4 or 6", f.Family)
	}
	for _, a := range []netip.Prefix{f.Src, f.Dst} {
		if a.IsValid() && (f.Family == 0 || a.Addr().Is4() != (f.Family == 4)) {
			return fmt.Errorf("address %s: want one of family %d", a, f.Family)
		}
	}
	switch {
	case f.Protocol != 0 && flowTypes[f.Protocol] == 0:
		return fmt.Errorf("protocol %d: the chip tells TCP, UDP and SCTP apart", f.Protocol)
	case f.Protocol == 0 && (f.SrcPort != 0 || f.DstPort != 0):
		return errors.New("port without a protocol: want TCP, UDP or SCTP")
	case f.VLAN > 4095:
		return fmt.Errorf("VLAN %d: want 1 to 4095", f.VLAN)
	}
	return nil
}

// notTuple returns why no 5-tuple filter can apply f, "" if one can.
func (f *Filter) notTuple() string {
	whole := func(a netip.Prefix) bool { return !a.IsValid() || a.IsSingleIP() }
	switch {
	case f.Family != 4:
		return "5-tuple filters compare IPv4 only (Family)"
	case !whole(f.Src) || !whole(f.Dst):
		return "5-tuple filters compare whole addresses, no prefixes"
	case f.VLAN != 0 || f.Flex != nil:
		return "5-tuple filters compare no VLAN and no flexible bytes"
	case !f.Src.IsValid() && !f.Dst.IsValid() && f.Protocol == 0:
		return "5-tuple filters compare no IP version"
	}
	return ""
}

func (p *Port) storeEtherTypes(list []placed) {
	for i := range engineLimits[EtherTypeFilter] {
		var filter, action uint32
		switch {
		case i < len(list):
			filter = reg.ETQF_ETYPE.Val(uint32(list[i].EtherType)) | reg.ETQF_FILTER_EN.Val(1)
			action = reg.ETQS_RX_QUEUE.Val(list[i].queue()) | reg.ETQS_QUEUE_EN.Val(1)
		case i == clockFilter && p.clock != nil:
			filter = reg.ETQF_ETYPE.Val(etherTypePTP) | reg.ETQF_FILTER_EN.Val(1)
		}
		if p.clock != nil && reg.ETQF_ETYPE.Of(filter) == etherTypePTP {
			filter |= reg.ETQF_1588.Val(1)
		}
		p.store(reg.ETQS(i), action)
		p.store(reg.ETQF(i), filter)
	}
}

// storeSYN sets the SYN filter, before the 5-tuple filters if it comes before the first
// of them.
func (p *Port) storeSYN(all plan) {
	var v, first uint32 = 0, 1
	for _, x := range all {
		switch x.Engine {
		case TupleFilter:
			first = 0
		case SYNFilter:
			v = reg.SYNQF_QUEUE_EN.Val(1) | reg.SYNQF_RX_QUEUE.Val(x.queue()) | reg.SYNQF_SYNQFP.Val(first)
		}
	}
	p.store(reg.SYNQF, v)
}

// Bits of FTQF.MASK: the field is not compared.
const (
	anySource = 1 << iota
	anyDestination
	anySourcePort
	anyDestinationPort
	anyProtocol
)

// storeTuples sets the 5-tuple filters. A filter that changes is off in between.
func (p *Port) storeTuples(list []placed) {
	for i := range engineLimits[TupleFilter] {
		if p.load(reg.FTQF(i)) != 0 {
			p.store(reg.FTQF(i), 0)
		}
		if i >= len(list) {
			continue
		}
		x := &list[i]
		mask := uint32(0)
		put := func(r reg.Register, a netip.Prefix, any uint32) {
			if !a.IsValid() {
				mask |= any
				return
			}
			p.store(r, binary.LittleEndian.Uint32(a.Addr().AsSlice()))
		}
		put(reg.SAQF(i), x.Src, anySource)
		put(reg.DAQF(i), x.Dst, anyDestination)
		var ports [4]byte
		binary.BigEndian.PutUint16(ports[:], x.SrcPort)
		binary.BigEndian.PutUint16(ports[2:], x.DstPort)
		p.store(reg.SDPQF(i), binary.LittleEndian.Uint32(ports[:]))
		if x.SrcPort == 0 {
			mask |= anySourcePort
		}
		if x.DstPort == 0 {
			mask |= anyDestinationPort
		}
		if x.Protocol == 0 {
			mask |= anyProtocol
		}
		p.store(reg.L34TIMIR(i), reg.L34TIMIR_SIZE_BP.Val(1)|reg.L34TIMIR_RESERVED.Val(0x40)|reg.L34TIMIR_RX_QUEUE.Val(x.queue()))
		p.store(reg.FTQF(i), reg.FTQF_PROTOCOL.Val(tupleProtocols[x.Protocol])|reg.FTQF_PRIORITY.Val(x.priority)|
			reg.FTQF_MASK.Val(mask)|reg.FTQF_POOL_MASK.Val(1)|reg.FTQF_QUEUE_ENABLE.Val(1))
	}
}

// tupleProtocols are the values of FTQF.PROTOCOL.
var tupleProtocols = map[uint8]uint32{ProtocolTCP: 0, ProtocolUDP: 1, ProtocolSCTP: 2}
