package driver

import (
	"time"

	"github.com/ixcap/ixcap/pci"
)

// ConnectForTest connects a queue to a vector whose registers are regs. fire signals
// the vector as the device does; the queue calls reportDead if the vector is dead.
func (q *RxQueue) ConnectForTest(regs pci.Region, vector int, reportDead func()) (fire func(), free func() error, err error) {
	e, err := newEventFD()
	if err != nil {
		return nil, nil, err
	}
	q.connect(regs, (&Port{}).vectorOf(vector), e, reportDead)
	return e.signal, e.close, nil
}

// Moderation is moderation, for tests.
type Moderation struct{ m moderation }

func NewModeration(ring int) *Moderation { return &Moderation{moderation{ring: uint64(ring)}} }

// At returns interval and quiet time at a rate of frames per second.
func (m *Moderation) At(rate uint64) (interval, quiet time.Duration) {
	m.m.rate = rate
	return time.Duration(m.m.interval()) * itrUnit, time.Duration(m.m.quietTime())
}

// Measure observes the number of polled descriptors at a time and returns the rate.
func (m *Moderation) Measure(at time.Duration, polled uint64) uint64 {
	m.m.observe(int64(at), polled)
	return m.m.rate
}

// Assign is assign.
func Assign(have, queues int) (queue []int, other, used int) {
	v := assign(have, queues)
	return v.queue, v.other, v.used
}

// Hasty returns cfg with checks of the link and of the device's progress ten times as often.
func Hasty(cfg Config) Config {
	cfg.checkInterval = linkInterval / 10
	return cfg
}

// ParseModule is parseModule.
var ParseModule = parseModule

// ReadEEPROM is readEEPROM.
func (p *Port) ReadEEPROM(word int) (uint16, error) { return p.readEEPROM(word) }

// ParseDiagnostics is parseDiagnostics.
var ParseDiagnostics = parseDiagnostics

// AskRestart, Parked and EnableRestart are the watcher's side of a reset.
func (q *RxQueue) AskRestart() { q.restart.state.Store(restartAsked) }

func (q *RxQueue) Parked() (index uint32, ok bool) {
	return q.restart.head, q.restart.state.Load() == restartParked
}

func (q *RxQueue) EnableRestart() (done func() bool) {
	q.restart.state.Store(restartEnabled)
	return func() bool { return q.restart.state.Load() == restartNone }
}

// AskRestart, Parked and EnableRestart of the queue.
func (p *RxPool) AskRestart()                       { p.q.AskRestart() }
func (p *RxPool) Parked() (index uint32, ok bool)   { return p.q.Parked() }
func (p *RxPool) EnableRestart() (done func() bool) { return p.q.EnableRestart() }

// ForgetCounters sets a virtual function's last reading to more than the counters can have:
// what they have counted since the last one is not found out any more.
func (p *Port) ForgetCounters() {
	p.stats.mu.Lock()
	defer p.stats.mu.Unlock()
	p.virtual.last.received += 1 << 20
}

// Comparison is comparison.
type Comparison struct{ Clock, Host, Width int64 }

// HostLine is hostLine.
type HostLine struct{ l hostLine }

func NewHostLine() *HostLine                      { return &HostLine{} }
func (h *HostLine) Add(c Comparison)              { h.l.add(comparison{c.Clock, c.Host, c.Width}) }
func (h *HostLine) At(clock int64) (int64, int64) { return h.l.at(clock) }
func (h *HostLine) Status() ClockStatus           { return h.l.status }
