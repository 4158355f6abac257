package driver

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// The two-wire bus to the cage, clocked by software at less than 100 kHz
// (I2C specification, standard mode; SFF-8431, 4.3).
const (
	i2cHigh    = 4 * time.Microsecond // shortest time that the clock is high, and that a start is held
	i2cLow     = 5 * time.Microsecond // shortest time that it is low, and between stop and start
	i2cStretch = time.Millisecond     // a module may hold the clock low for this long

	// Addresses of a module's memory (SFF-8472, 4.1).
	i2cSerialID    = 0xa0
	i2cDiagnostics = 0xa2
)

// errNoModule is the error of a read that no module acknowledges.
var errNoModule = errors.New("no module answers in the cage")

// i2c is the bus of one port. Its user holds the semaphore. After an error its methods
// do nothing.
type i2c struct {
	p   *Port
	out uint32 // lines as driven by the port
	err error
}

// drive sets a line and waits for hold.
func (b *i2c) drive(line reg.Field, level uint32, hold time.Duration) {
	if b.err != nil {
		return
	}
	b.out = line.Set(b.out, level)
	b.p.store(reg.I2CCTL, b.out)
	b.p.load(reg.I2CCTL) // answered after the store
	spin(hold)
}

// spin waits a few microseconds, which are too short for a sleep. The number of tries
// is limited in case the clock does not run.
func spin(d time.Duration) {
	now := func() int64 {
		var ts unix.Timespec
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
		return ts.Nano()
	}
	end := now() + int64(d)
	for tries := 0; now() < end && tries < 1e4; tries++ {
	}
}

func (b *i2c) data(level uint32) { b.drive(reg.I2CCTL_DATA_OUT, level, time.Microsecond) }

// pulse makes one clock pulse and returns the data line while the clock is high.
func (b *i2c) pulse() (level uint32) {
	b.raise()
	if b.err == nil {
		level = reg.I2CCTL_DATA_IN.Of(b.p.load(reg.I2CCTL))
	}
	b.drive(reg.I2CCTL_CLK_OUT, 0, i2cLow)
	return level
}

// raise releases the clock line and waits until it is high, which the module may delay.
func (b *i2c) raise() {
	b.drive(reg.I2CCTL_CLK_OUT, 1, i2cHigh)
	if b.err == nil {
		b.err = b.p.wait(reg.I2CCTL, i2cStretch, to(reg.I2CCTL_CLK_IN, 1))
	}
}

func (b *i2c) start() {
	b.data(1)
	b.raise()
	b.data(0)
	spin(i2cHigh)
	b.drive(reg.I2CCTL_CLK_OUT, 0, i2cLow)
}

func (b *i2c) stop() {
	b.data(0)
	b.raise()
	b.data(1)
	spin(i2cLow)
}

// clear ends a transfer that a module has not finished: after nine pulses its byte is
// sent and not acknowledged.
func (b *i2c) clear() {
	b.data(1)
	for range 9 {
		b.pulse()
	}
	b.start()
	b.stop()
}

// write sends a byte. It is an error if no module acknowledges it.
func (b *i2c) write(v byte) {
	for i := 7; i >= 0; i-- {
		b.data(uint32(v >> i & 1))
		b.pulse()
	}
	b.data(1)
	if b.pulse() != 0 && b.err == nil {
		b.err = errNoModule
	}
}

// read receives a byte and acknowledges it unless it is the last.
func (b *i2c) read(last bool) (v byte) {
	b.data(1)
	for range 8 {
		v = v<<1 | byte(b.pulse())
	}
	if !last {
		b.data(0)
	}
	b.pulse()
	b.data(1)
	return v
}

// readI2C reads n bytes of the module's memory from an offset on: at address i2cSerialID
// or i2cDiagnostics. The caller holds cage.bus.
func (p *Port) readI2C(address, offset byte, n int) (data []byte, err error) {
	resource := reg.SW_FW_SYNC_PHY0
	if reg.STATUS_LAN_ID.Of(p.load(reg.STATUS)) != 0 {
		resource = reg.SW_FW_SYNC_PHY1
	}
	release, err := p.acquire(resource)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	b := &i2c{p: p, out: reg.I2CCTL_CLK_OUT.Val(1) | reg.I2CCTL_DATA_OUT.Val(1)}
	b.clear()
	if b.err == nil && reg.I2CCTL_DATA_IN.Of(p.load(reg.I2CCTL)) == 0 {
		return nil, fmt.Errorf("%s stays low: %w", reg.I2CCTL_DATA_IN, errNoModule)
	}
	b.start()
	b.write(address)
	b.write(offset)
	b.start()
	b.write(address | 1)
	data = make([]byte, n)
	for i := range data {
		data[i] = b.read(i == n-1)
	}
	failed := b.err
	b.err = nil
	b.stop() // also after an error
	return data, failed
}
