package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Link is the state of a port's link.
type Link struct {
	Up    bool
	Speed int // Mb/s, 0 when down

	// Negotiated: with the other end, at 1 Gb/s (Config.Negotiate) or on twisted pair.
	Negotiated bool
}

func (l Link) String() string {
	if !l.Up {
		return "down"
	}
	if l.Negotiated {
		return fmt.Sprintf("up at %d Mb/s, negotiated", l.Speed)
	}
	return fmt.Sprintf("up at %d Mb/s", l.Speed)
}

// findModule identifies the module for setupLink, and refuses one that is not supported.
func (p *Port) findModule() error {
	if p.model.medium != sfi {
		return nil
	}
	if err := p.identify(0); err != nil {
		return err
	}
	return p.checkSupported()
}

// setupLink is step 5 (4.6.4). On an SFP+ port it writes the analog settings that the
// EEPROM has for the module and sets the speed; at 10 Gb/s optics do not negotiate. A PHY
// negotiates, on other media it restarts the mode that the EEPROM has set. It does
// not wait for the link (WaitLink does).
func (p *Port) setupLink() (err error) {
	if p.model.medium == twistedPair {
		return p.negotiatePHY()
	}
	m, _ := p.Module()
	settings, err := p.moduleSettingsOf(m)
	if err != nil {
		return err
	}
	release, err := p.acquire(reg.SW_FW_SYNC_MAC_CSR) // firmware sets up links too
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	autoc := p.load(reg.AUTOC)
	if p.model.medium == sfi {
		for _, w := range settings {
			p.store(reg.CORECTL, uint32(w))
			p.flush()
		}
		// The laser is on while SDP3 is low.
		p.change(reg.ESDP, to(reg.ESDP_SDP3, 0))
		autoc = reg.AUTOC_FLU.Set(autoc, 0)
		if p.speed(m) == lowerSpeed {
			mode := uint32(reg.LMS_1G_NO_AN)
			if p.cfg.Negotiate {
				mode = reg.LMS_1G_AN
			}
			autoc = reg.AUTOC_LMS.Set(autoc, mode)
			autoc = reg.AUTOC_1G_PMA_PMD.Set(autoc, 0)
		} else {
			autoc = reg.AUTOC_LMS.Set(autoc, reg.LMS_10G_SERIAL)
			p.change(reg.AUTOC2, to(reg.AUTOC2_10G_PMA_PMD_SERIAL, reg.PMA_PMD_SERIAL_SFI))
		}
	}
	p.store(reg.AUTOC, reg.AUTOC_RESTART_AN.Set(autoc, 1))
	p.flush()
	return nil
}

// speed returns the speed for a module in Mb/s.
func (p *Port) speed(m Module) int {
	switch {
	case p.cfg.Speed != 0:
		return p.cfg.Speed
	case m.only1G():
		return lowerSpeed
	}
	return maxSpeed
}

// Link returns the current state of the link, down if the device is gone.
func (p *Port) Link() Link {
	if p.gone.Load() || p.virtual != nil && p.virtual.revoked.Load() {
		return Link{}
	}
	links := reg.LINKS
	if p.virtual != nil {
		links = reg.VFLINKS // its fields are those of LINKS
	}
	v := p.load(links)
	if v == ^uint32(0) || reg.LINKS_LINK_UP.Of(v) == 0 {
		return Link{}
	}
	l := Link{Up: true, Speed: [4]int{0, 100, 1000, 10000}[reg.LINKS_LINK_SPEED.Of(v)]}
	if p.model.medium == twistedPair {
		l.Negotiated = true
	} else if l.Speed == lowerSpeed && p.cfg.Negotiate {
		l.Negotiated = reg.PCS1GLSTA_AN_COMPLETE.Of(p.load(reg.PCS1GLSTA)) != 0
	}
	return l
}

// WaitLink waits until the link is up, the context ends, the port is closed, or the
// device is gone.
func (p *Port) WaitLink(ctx context.Context) (Link, error) {
	for {
		if l := p.Link(); l.Up {
			return l, nil
		}
		select {
		case <-ctx.Done():
			return Link{}, fmt.Errorf("wait for the link of %s: %s %#08x: %w", p.dev.Name(), reg.LINKS.Name(), p.load(reg.LINKS), ctx.Err())
		case <-p.quit:
			return Link{}, fmt.Errorf("wait for the link of %s: the port is closed: %w", p.dev.Name(), os.ErrClosed)
		case <-p.dev.Done():
			return Link{}, fmt.Errorf("wait for the link of %s: %w", p.dev.Name(), p.dev.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
