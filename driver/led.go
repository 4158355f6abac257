package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

const (
	blinkPeriod = 500 * time.Millisecond // on, and off
	linkLED     = 2                      // that of link and activity on boards whose registers do not tell
)

// Blink makes the port's LED blink, once a second, until ctx ends or the port is closed, so
// that one finds the port in the rack. The LED is that of link and activity, as with ethtool
// -p (Linux, ixgbe_set_phys_id). Frames are received as before. One call at a time: another is
// an error.
func (p *Port) Blink(ctx context.Context) (err error) {
	if err := p.physical("blink the LED"); err != nil {
		return err
	}
	if !p.blinking.TryLock() {
		return errors.New("the LED is already blinking: wait until it ends")
	}
	defer p.blinking.Unlock()
	if p.quitting() {
		return fmt.Errorf("blink: %w", os.ErrClosed)
	}
	before := p.load(reg.LEDCTL)
	led := linkLED
	for i, f := range reg.LEDCTL_MODE {
		if f.Of(before) == reg.LED_LINK_ACTIVE {
			led = i
			break
		}
	}
	mode := reg.LEDCTL_MODE[led]
	tick := time.NewTicker(blinkPeriod)
	defer tick.Stop()
	for on := true; ; on = !on {
		v := mode.Set(before, reg.LED_OFF)
		if on {
			v = mode.Set(before, reg.LED_ON)
		}
		p.store(reg.LEDCTL, reg.LEDCTL_BLINK[led].Set(v, 0))
		select {
		case <-ctx.Done():
		case <-p.quit:
		case <-p.dev.Done():
			return fmt.Errorf("blink: %w", p.dev.Err())
		case <-tick.C:
			continue
		}
		p.store(reg.LEDCTL, before)
		p.flush()
		return nil
	}
}
