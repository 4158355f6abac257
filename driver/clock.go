package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Clock is the clock of a port (SYSTIM, 7.9), which Config.Clock runs. The device stamps
// with it each PTP event message of version 2 that it receives, over Ethernet or UDP, and
// frames sent from a TxBuffer with Stamp. It has room for one stamp in each direction, and
// takes no other until that one is read.
//
// The clock runs free. Once a second, and more often at first, it is compared with CLOCK_REALTIME, and stamps are
// converted by a line through these readings:
//
//	CLOCK_REALTIME   before                        after      of 8 tries the shortest
//	                   |---- load of SYSTIML -------|
//	SYSTIM                     latched in between
//
// Its methods may be called from any goroutine. They load registers, a microsecond each on
// a card: they are not for the receive path.
type Clock struct {
	p *Port

	mu    sync.Mutex // loading the low half of a register latches the high one
	host  func() int64
	speed int    // of the link that the increment is for, Mb/s
	shift uint   // binary point of SYSTIM: ns times 2^shift
	raw   uint64 // SYSTIM at the last reading
	ticks int64  // ns of the clock at raw
	line  hostLine

	received, sent uint64 // stamps read
}

// Stamp is a time stamp of a frame: when the first bit behind its preamble passed the port.
type Stamp struct {
	Clock time.Duration // by the port's clock, since it was started

	// Host is the time by CLOCK_REALTIME, and Uncertainty how far the comparison of the
	// clocks can be off. A change of the host's clock since the last one is not in it.
	Host        time.Time
	Uncertainty time.Duration

	// Sequence is the sequence number of a received message (IEEE 1588, sequenceId).
	Sequence uint16
}

// ClockStatus is how the port's clock runs against CLOCK_REALTIME.
type ClockStatus struct {
	Rate        float64       // by how many parts per million the clock is fast
	Residual    time.Duration // line minus CLOCK_REALTIME at the last comparison
	MaxResidual time.Duration // the largest of them, without steps
	Uncertainty time.Duration // of Residual
	Comparisons uint64
	Steps       uint64 // times that CLOCK_REALTIME was set

	Received, Sent uint64 // stamps read
}

// ErrNoStamp is the error of a frame without a time stamp.
var ErrNoStamp = errors.New("the device has taken no time stamp")

const (
	firstComparison = 20 * time.Millisecond // until the second one, then doubled
	lastComparison  = time.Second
	clockTries      = 8

	// The increments of Linux (ixgbe_ptp_start_cyclecounter): the largest that fit 24
	// bits, for cycles of 6.4 ns and of 64 ns.
	increment10G, shift10G = 0xcccccc, 21
	increment1G, shift1G   = 0x800000, 17

	etherTypePTP = 0x88f7
	clockFilter  = 7 // EtherType filter of PTP messages

	ptpEventPort = 319
)

// Clock returns the port's clock, nil without Config.Clock.
func (p *Port) Clock() *Clock { return p.clock }

// holdClock keeps others from the clock during a reset.
func (p *Port) holdClock() (release func()) {
	if p.clock == nil {
		return func() {}
	}
	p.clock.mu.Lock()
	return p.clock.mu.Unlock
}

// startClock starts the clock and the stamps, after each reset. The caller holds the clock
// or is its only user.
func (p *Port) startClock() error {
	c := p.clock
	if c == nil {
		return nil
	}
	if p.model.family != family82599 {
		return fmt.Errorf("the %s has another clock, which the driver does not know: leave out Config.Clock", p.model.name)
	}
	c.restart(p.Link().Speed)
	p.storeEtherTypes(p.plan.of(EtherTypeFilter))
	p.store(reg.RXMTRL, reg.RXMTRL_UDPT.Val(ptpEventPort))
	p.change(reg.TSYNCRXCTL, to(reg.TSYNCRXCTL_TYPE, reg.TSYNC_EVENT_V2), to(reg.TSYNCRXCTL_EN, 1))
	p.change(reg.TSYNCTXCTL, to(reg.TSYNCTXCTL_EN, 1))
	p.load(reg.RXSTMPH)
	p.load(reg.TXSTMPH)
	return nil
}

// restart sets the increment for the link's speed and starts SYSTIM at 0. The clock's own
// time goes on. The caller holds c.mu.
func (c *Clock) restart(speed int) {
	increment := uint32(increment10G)
	c.speed, c.shift = speed, shift10G
	if speed == lowerSpeed {
		increment, c.shift = increment1G, shift1G
	}
	c.p.store(reg.TIMINCA, 0)
	c.p.store(reg.SYSTIML, 0)
	c.p.store(reg.SYSTIMH, 0)
	c.p.store(reg.TIMINCA, reg.TIMINCA_IV.Val(increment)|reg.TIMINCA_IP.Val(1))
	c.raw = 0
	c.line.restart()
	c.compare()
}

// at returns the clock's time at a value of SYSTIM, which wraps after 2.4 hours. The caller
// holds c.mu.
func (c *Clock) at(raw uint64) int64 { return c.ticks + int64(raw-c.raw)>>c.shift }

// compare adds a comparison with the host's clock. The caller holds c.mu.
func (c *Clock) compare() {
	best := comparison{width: 1 << 62}
	raw := c.raw
	for range clockTries {
		before := c.host()
		low := c.p.load(reg.SYSTIML)
		after := c.host()
		high := c.p.load(reg.SYSTIMH)
		if after-before < best.width {
			raw = uint64(high)<<32 | uint64(low)
			best = comparison{host: before + (after-before)/2, width: after - before}
		}
	}
	c.ticks, c.raw = c.at(raw), raw
	best.clock = c.ticks
	c.line.add(best)
}

// run compares the clocks until the port is closed.
func (c *Clock) run() {
	for next := firstComparison; ; next = min(2*next, lastComparison) {
		select {
		case <-c.p.quit:
			return
		case <-c.p.dev.Done():
			return
		case <-time.After(next):
			c.follow(c.p.Link())
		}
	}
}

// follow compares the clocks, or restarts the clock for a link of another speed: the cycle
// without a link is that of 10 Gb/s.
func (c *Clock) follow(l Link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if (l.Speed == lowerSpeed) != (c.speed == lowerSpeed) {
		c.restart(l.Speed)
		return
	}
	c.compare()
}

// Now returns the time of the clock, and CLOCK_REALTIME before and after it was read.
func (c *Clock) Now() (clock time.Duration, before, after time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		return 0, before, after, fmt.Errorf("read the clock of %s: %w", c.p.dev.Name(), err)
	}
	from := c.host()
	low := c.p.load(reg.SYSTIML)
	to := c.host()
	raw := uint64(c.p.load(reg.SYSTIMH))<<32 | uint64(low)
	return time.Duration(c.at(raw)), time.Unix(0, from), time.Unix(0, to), nil
}

// usable returns an error if registers must not be loaded any more.
func (c *Clock) usable() error {
	if c.p.gone.Load() {
		return os.ErrClosed
	}
	return c.p.dev.Err()
}

// Received returns the time stamp of a received message and releases it, so that the
// device can take the next. The message is the one with the stamp's sequence number; if no
// such message is received, it was lost on the way to memory. ErrNoStamp: there is none.
func (c *Clock) Received() (Stamp, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.take(reg.TSYNCRXCTL, reg.TSYNCRXCTL_VALID, reg.RXSTMPL, reg.RXSTMPH, &c.received)
}

// Sent returns the time stamp of a sent frame and releases it. ErrNoStamp: there is none,
// because the frame has not left the port yet, or the stamp of one before it was not read
// when it did.
func (c *Clock) Sent() (Stamp, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.take(reg.TSYNCTXCTL, reg.TSYNCTXCTL_VALID, reg.TXSTMPL, reg.TXSTMPH, &c.sent)
}

// WaitSent waits for Sent until the context ends, which means that the frame was not
// stamped or not sent.
func (c *Clock) WaitSent(ctx context.Context) (Stamp, error) {
	for {
		s, err := c.Sent()
		if !errors.Is(err, ErrNoStamp) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("%w: %w", err, ctx.Err())
		case <-time.After(100 * time.Microsecond):
		}
	}
}

// take reads a stamp and releases it. The caller holds c.mu.
func (c *Clock) take(control reg.Register, valid reg.Field, low, high reg.Register, count *uint64) (Stamp, error) {
	fail := func(err error) (Stamp, error) {
		return Stamp{}, fmt.Errorf("time stamp of %s: %w", c.p.dev.Name(), err)
	}
	if err := c.usable(); err != nil {
		return fail(err)
	}
	v := c.p.load(control)
	switch {
	case v == ^uint32(0):
		return fail(ErrGone)
	case valid.Of(v) == 0:
		return fail(ErrNoStamp)
	}
	var s Stamp
	if control == reg.TSYNCRXCTL {
		id := reg.RXSATRH_SEQUENCE.Of(c.p.load(reg.RXSATRH)) // in the order of the wire
		s.Sequence = uint16(id<<8 | id>>8)
	}
	raw := uint64(c.p.load(low))
	raw |= uint64(c.p.load(high)) << 32
	*count++
	at := c.at(raw)
	host, uncertainty := c.line.at(at)
	s.Clock, s.Host, s.Uncertainty = time.Duration(at), time.Unix(0, host), time.Duration(uncertainty)
	return s, nil
}

// Status returns how the clock runs.
func (c *Clock) Status() ClockStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.line.status
	s.Received, s.Sent = c.received, c.sent
	return s
}
