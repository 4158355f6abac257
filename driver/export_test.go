package driver

import (
	"time"

	"github.com/ixcap/ixcap/pci"
)

// ConnectForTest gives a queue an interrupt whose registers are regs. fire is
// what the device does, told counts the queue's complaints.
func (q *RxQueue) ConnectForTest(regs pci.Region, vector int, told func()) (fire func(), free func() error, err error) {
	e, err := newEventFD()
	if err != nil {
		return nil, nil, err
	}
	q.connect(regs, vector, e, told)
	return e.signal, e.close, nil
}

// Moderation is moderation, for tests.
type Moderation struct{ m moderation }

func NewModeration(ring int) *Moderation { return &Moderation{moderation{ring: uint64(ring)}} }

// At gives interval and patience at a rate of frames per second.
func (m *Moderation) At(rate uint64) (interval, patience time.Duration) {
	m.m.rate = rate
	return time.Duration(m.m.interval()) * itrUnit, time.Duration(m.m.patience())
}

// Measure observes taken descriptors at a time and gives the rate.
func (m *Moderation) Measure(at time.Duration, taken uint64) uint64 {
	m.m.observe(int64(at), taken)
	return m.m.rate
}

// Assign is assign.
func Assign(have, queues int) (queue []int, other, used int) {
	v := assign(have, queues)
	return v.queue, v.other, v.used
}

// ParseModule is parseModule.
var ParseModule = parseModule

// ReadEEPROM is readEEPROM.
func (p *Port) ReadEEPROM(word int) (uint16, error) { return p.readEEPROM(word) }
