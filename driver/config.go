package driver

import (
	"fmt"

	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// Limits of the 82599.
const (
	// MaxQueues is the number of queues RSS can spread frames over; an entry of
	// the indirection table has 4 bits (7.1.2.8).
	MaxQueues = 16

	// MaxFrame is the longest frame the MAC takes in: 15.5 KiB with its CRC
	// (8.2.3.22, MAXFRS), here without.
	MaxFrame = 15872 - crcSize

	crcSize    = 4
	minFrame   = 60 // what a sender pads to, without CRC
	maxSpeed   = 10000
	lowerSpeed = 1000
)

// Config says how to run a port. The zero value is a monitor with one queue.
type Config struct {
	Queues     int // receive queues, 1 to 16; 0 = 1
	RingSize   int // descriptors of a receive ring, a multiple of 8 up to 4096; 0 = 4096
	BufferSize int // bytes of a packet buffer, a multiple of 1024 up to 16384; 0 = 2048

	TxQueues   int // transmit queues, 0 to 16
	TxRingSize int // descriptors of a transmit ring; 0 = 512

	// MaxFrame is the longest frame received or sent, in bytes without CRC and
	// VLAN tags; 0 = MaxFrame, what the device can. Longer ones count as bad (ROC).
	MaxFrame int

	// Pages is the page size of rings and buffers; 0 = huge pages of 2 MiB for a
	// device behind kernel VFIO, ordinary pages for vfio-user.
	Pages hugepage.Size

	// Node is the NUMA node of rings and buffers; nil = the device's.
	Node *int

	// RSSKey spreads frames over the queues; nil = MicrosoftKey.
	RSSKey *RSSKey

	// StripVLAN takes the 802.1Q tag out of frames and reports it beside them.
	// Otherwise frames stay as they were on the wire.
	StripVLAN bool

	// Speed of the link in Mb/s: 10000 or 1000; 0 = what the module in the cage
	// can, 10000 if it is not known. It applies to ports with an SFP+ cage; other
	// media keep what the EEPROM says.
	Speed int

	// Interrupts says which of the device's interrupts are used; by default only
	// those that are no queue's.
	Interrupts Interrupts

	// OnEvent, when set, is called with what the port has to tell besides frames,
	// from a goroutine of the port's, one call at a time, until Close. It must not
	// call Close, which waits for it.
	OnEvent func(Event)

	// RefillBatch is how many descriptors Release collects before it writes the
	// tail register, which over a socket costs a system call; 0 = one in 32 of
	// the ring, 1 = every Release writes.
	RefillBatch int

	// SkipEEPROMCheck brings up a port whose EEPROM checksum is wrong.
	SkipEEPROMCheck bool
}

// withDefaults is c with the zeros replaced, or what is wrong with it.
func (c Config) withDefaults(dev pci.Device) (Config, error) {
	orDefault := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDefault(&c.Queues, 1)
	orDefault(&c.RingSize, ring.MaxSize)
	orDefault(&c.BufferSize, 2048)
	orDefault(&c.TxRingSize, 512)
	orDefault(&c.MaxFrame, MaxFrame)
	if c.Queues < 1 || c.Queues > MaxQueues {
		return c, fmt.Errorf("queues %d: the 82599 receives on 1 to %d", c.Queues, MaxQueues)
	}
	if c.TxQueues < 0 || c.TxQueues > MaxQueues {
		return c, fmt.Errorf("transmit queues %d: want 0 to %d", c.TxQueues, MaxQueues)
	}
	if err := ring.CheckSize(c.RingSize); err != nil {
		return c, fmt.Errorf("receive %w", err)
	}
	if err := ring.CheckSize(c.TxRingSize); err != nil {
		return c, fmt.Errorf("transmit %w", err)
	}
	if c.BufferSize < 1024 || c.BufferSize > 16<<10 || c.BufferSize%1024 != 0 {
		return c, fmt.Errorf("packet buffers of %d bytes: want a multiple of 1024 up to 16384", c.BufferSize)
	}
	if c.MaxFrame < minFrame || c.MaxFrame > MaxFrame {
		return c, fmt.Errorf("frames of up to %d bytes: want a limit from %d to %d (without CRC)", c.MaxFrame, minFrame, MaxFrame)
	}
	if chain := c.chain(); chain >= c.RingSize {
		return c, fmt.Errorf("a ring of %d descriptors cannot hold a frame of %d bytes, which takes %d: make the ring larger or the frames shorter", c.RingSize, c.MaxFrame, chain)
	}
	if c.TxQueues > 0 && c.txChain() >= c.TxRingSize {
		return c, fmt.Errorf("a transmit ring of %d descriptors cannot hold a frame of %d bytes", c.TxRingSize, c.MaxFrame)
	}
	if c.Speed != 0 && c.Speed != maxSpeed && c.Speed != lowerSpeed {
		return c, fmt.Errorf("speed %d Mb/s: the port runs at %d or %d", c.Speed, maxSpeed, lowerSpeed)
	}
	if c.Interrupts > NoInterrupts {
		return c, fmt.Errorf("interrupts %d: want LinkInterrupts, QueueInterrupts or NoInterrupts", c.Interrupts)
	}
	if c.RefillBatch < 0 || c.RefillBatch > c.RingSize/2 {
		return c, fmt.Errorf("refill batch %d: want 1 to half the ring of %d", c.RefillBatch, c.RingSize)
	}
	orDefault(&c.RefillBatch, max(1, c.RingSize/32))
	if most := c.RingSize - c.chain(); c.RefillBatch > most {
		return c, fmt.Errorf("refill batch %d: the device must keep the %d descriptors of a frame of %d bytes: want at most %d", c.RefillBatch, c.chain(), c.MaxFrame, most)
	}
	if c.Pages == 0 {
		c.Pages = hugepage.Size2M
		if dev.Transport() == "vfio-user" {
			c.Pages = hugepage.Ordinary
		}
	}
	if c.Node == nil {
		node := dev.NUMANode()
		if node < 0 {
			node = hugepage.AnyNode
		}
		c.Node = &node
	}
	if c.RSSKey == nil {
		c.RSSKey = &MicrosoftKey
	}
	return c, nil
}

// chain is the number of descriptors that the longest frame takes, with two
// VLAN tags, for which MAXFRS makes allowance.
func (c Config) chain() int { return (c.MaxFrame + 8 + c.BufferSize - 1) / c.BufferSize }

func (c Config) txChain() int { return (c.MaxFrame + 8 + txBufferSize - 1) / txBufferSize }

func (c Config) memory(name string) hugepage.Options {
	return hugepage.Options{Pages: c.Pages, Node: *c.Node, Name: name}
}
