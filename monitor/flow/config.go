package flow

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/headers"
	"github.com/ixcap/ixcap/hugepage"
)

// Defaults of a Config.
const (
	DefaultFlows  = 1 << 18
	DefaultIdle   = 30 * time.Second
	DefaultActive = 5 * time.Minute
	DefaultLinger = time.Second
)

// Limits of a Config.
const (
	MaxFlows   = 1 << 28
	MaxPayload = 4096
	maxIdle    = 24 * time.Hour
)

// Config is what an Engine is made with. Zero values mean the defaults.
type Config struct {
	Flows int // entries of flows at once
	Short int // short entries, beside them; 0: a quarter of Flows

	OneWay  bool            // the directions are flows of their own
	VLAN    bool            // ids of the first two VLAN tags behind the last header of Ethernet belong to the key
	Tunnels headers.Tunnels // are followed, and belong to the key

	Idle   time.Duration // without a packet ends a flow
	Active time.Duration // is the longest time from a flow's first packet to its last one
	Linger time.Duration // without a packet ends a closed connection of TCP

	Payload int // bytes of payload kept of each direction

	Pages hugepage.Size // of the table; 0: ordinary ones
	Node  int           // NUMA node of the table, or hugepage.AnyNode

	// OnRecords gets the records of flows that ended, in the goroutine that feeds the
	// engine. They are valid until it returns. It must not call the engine.
	OnRecords func([]Record)
}

// complete sets the defaults and checks what was set.
func (c *Config) complete() error {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.Idle, DefaultIdle)
	set(&c.Active, DefaultActive)
	set(&c.Linger, min(DefaultLinger, c.Idle))
	if c.Flows == 0 {
		c.Flows = DefaultFlows
	}
	if c.Short == 0 {
		c.Short = max(1, c.Flows/4)
	}
	if c.Pages == 0 {
		c.Pages = hugepage.Ordinary
	}
	switch {
	case c.Flows < 1 || c.Flows > MaxFlows:
		return fmt.Errorf("flow table of %d flows: at least 1 and at most %d are possible", c.Flows, MaxFlows)
	case c.Short < 1 || c.Short > MaxFlows:
		return fmt.Errorf("flow table of %d short flows: at least 1 and at most %d are possible", c.Short, MaxFlows)
	case c.Idle < time.Millisecond || c.Idle > maxIdle:
		return fmt.Errorf("idle time %v: choose from 1ms to %v", c.Idle, maxIdle)
	case c.Active < time.Millisecond:
		return fmt.Errorf("active time %v: choose at least 1ms", c.Active)
	case c.Linger < 0 || c.Linger > c.Idle:
		return fmt.Errorf("linger time %v: choose from 0 to the idle time %v", c.Linger, c.Idle)
	case c.Payload < 0 || c.Payload > MaxPayload:
		return fmt.Errorf("payload of %d bytes: choose from 0 to %d", c.Payload, MaxPayload)
	case c.OnRecords == nil:
		return fmt.Errorf("flow engine without OnRecords: set the function that gets the records")
	}
	return nil
}
