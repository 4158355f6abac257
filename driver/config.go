package driver

import (
	"cmp"
	"fmt"
	"math"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// Limits of the 82599.
const (
	// MaxQueues is the largest number of receive queues. RSS reaches the first
	// MaxRSSQueues of them: an entry of the indirection table has 4 bits (7.1.2.8).
	// Filters reach all, as does RSS of an X550.
	MaxQueues    = 64
	MaxRSSQueues = 16

	// MaxTxQueues is the largest number of transmit queues.
	MaxTxQueues = 16

	// MaxFrame is the longest frame in bytes without CRC: the MAC receives up to
	// 15.5 KiB with it (8.2.3.22, MAXFRS).
	MaxFrame = 15872 - crcSize

	// MinTxBuffers is the smallest number of packet buffers of a transmit queue.
	MinTxBuffers = 8

	crcSize    = 4
	minFrame   = 60 // a sender pads shorter frames, without CRC
	maxSpeed   = 10000
	lowerSpeed = 1000

	lowestSpeed = 100 // of twisted pair only

	defaultChunkSize = 256
)

// Config of a port. The zero value is a monitor with one queue.
type Config struct {
	Queues     int // receive queues, 1 to 64; 0 = 1
	RingSize   int // descriptors of a receive ring, a multiple of 8 up to 4096; 0 = 4096
	BufferSize int // bytes of a packet buffer, a multiple of 1024 up to 16384; 0 = 2048

	TxQueues   int // transmit queues, 0 to 16
	TxRingSize int // descriptors of a transmit ring, a multiple of 8 up to 8192; 0 = 512
	TxBuffers  int // packet buffers of a transmit queue, from MinTxBuffers; 0 = TxRingSize

	// TxBufferSize is the size of these in bytes, a multiple of 1024 up to 16384; 0 = 2048.
	TxBufferSize int

	// TxAttach makes transmit queues with TxBuffers buffers that have no memory: the caller
	// attaches that of frames received (TxBuffer.Attach).
	TxAttach bool

	// HeadWriteBack makes the device write the head of a transmit ring to memory, and
	// not to each reported descriptor (TDWBAL, 7.2.3.4.2).
	HeadWriteBack bool

	// MaxFrame is the longest frame received or sent, in bytes without CRC and
	// VLAN tags; 0 = MaxFrame. Longer ones count as bad (ROC).
	MaxFrame int

	// Chunks gives each receive queue a ring-buffer pool of so many chunks, and makes it an
	// RxPool; 0 = none. A chunk has ChunkSize packet buffers, a multiple of 8 of which
	// RingSize is a multiple, too; 0 = 256.
	Chunks    int
	ChunkSize int

	// Pages is the page size of rings and buffers; 0 = huge pages of 2 MiB for a
	// device behind kernel VFIO, ordinary pages for vfio-user.
	Pages hugepage.Size

	// Node is the NUMA node of rings and buffers; nil = the device's.
	Node *int

	// RSS spreads frames over the queues. The zero value gives both directions of a
	// connection the same queue. Port.SetRSS changes it.
	RSS RSS

	// FlowDirector turns on the Flow Director, for filters that 5-tuple filters cannot
	// apply (see Filter).
	FlowDirector FlowDirector

	// FlexOffset is the place of Filter.Flex in a frame, in bytes: even, below 62.
	FlexOffset int

	// StripVLAN removes the 802.1Q tag from frames and reports it in Frame.VLAN.
	// Otherwise frames are as on the wire.
	StripVLAN bool

	// OuterVLAN is the EtherType of the outer tag that all frames are expected to have,
	// such as 0x88A8; 0 = none. The port then finds what is behind it: it hashes and
	// verifies frames with two tags, and Frame.VLAN is the inner one. Frames without an
	// outer tag get no hash and go to queue 0. Tags are not stripped then.
	OuterVLAN uint16

	// KeepCRC leaves the CRC at the end of frames (ring.HasCRC). It then counts in
	// lengths and bytes. A VLAN tag that is stripped was part of it.
	KeepCRC bool

	// KeepBad receives bad frames, too: those with a wrong CRC or bad symbols, runts, and
	// frames over MaxFrame as long as they fit (FCTRL.SBP). They have ring.FrameError,
	// and Info.Fault says more. It implies KeepCRC.
	KeepBad bool

	// Speed of the link in Mb/s: 10000 or 1000; 0 = that of the module in the cage,
	// 10000 if it is not known. On twisted pair of an X540 or X550 it is the only speed
	// that is offered to the other end; 0 = 10000, 1000 and 100. Other media use the
	// setting of the EEPROM.
	Speed int

	// Negotiate negotiates with the other end at 1 Gb/s (IEEE 802.3 clause 37), as most
	// switches expect. Without it the link comes up on a signal alone, as behind a tap,
	// from which nothing is sent back.
	Negotiate bool

	// AnyModule accepts a module that is not known to work, or that the board's EEPROM
	// does not allow: its link may not come up. Otherwise Open fails.
	AnyModule bool

	// Interrupts selects the device's interrupts; by default only those of causes
	// other than queues.
	Interrupts Interrupts

	// OnEvent, if not nil, is called for changes of the link, the module, and faults,
	// from a goroutine of the port, one call at a time, until Close. It must not call
	// Close, which waits for it.
	OnEvent func(Event)

	// RefillBatch is how many descriptors Release collects before it writes the
	// tail register, which over a socket costs a system call; 0 = 1/32 of the ring,
	// 1 = every Release writes.
	RefillBatch int

	// VFs are the virtual functions that the port offers, at most 63: each has a pool of
	// 4 queues, or of 2 from 32 functions on, and the port has one or all queues of its
	// own pool. The port gets what is for no function.
	VFs []VF

	// Clock runs the device's clock, which stamps PTP event messages (Port.Clock). It takes
	// one of the EtherType filters.
	Clock bool

	// VFMailbox is the highest version of the mailbox's messages that is offered to
	// virtual functions, "1.0" to "1.5"; "" = "1.5". Older ones are as those of physical
	// functions whose drivers know no newer.
	VFMailbox string

	// SkipEEPROMCheck opens a port whose EEPROM checksum is wrong.
	SkipEEPROMCheck bool

	checkInterval time.Duration // of the link and the device's progress; 0 = linkInterval, tests have less
}

// withDefaults returns c with defaults for zero values, or an error if it is invalid.
func (c Config) withDefaults(dev pci.Device, m model) (Config, error) {
	orDefault := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orDefault(&c.Queues, 1)
	c = c.withReceiveSizes()
	orDefault(&c.TxRingSize, 512)
	orDefault(&c.TxBuffers, c.TxRingSize)
	orDefault(&c.TxBufferSize, 2048)
	c.checkInterval = cmp.Or(c.checkInterval, linkInterval)
	c.KeepCRC = c.KeepCRC || c.KeepBad
	if c.OuterVLAN != 0 && (c.OuterVLAN < 0x600 || c.StripVLAN) {
		return c, fmt.Errorf("outer VLAN %#04x: want an EtherType such as 0x88a8, without StripVLAN: the port strips the inner tag alone", c.OuterVLAN)
	}
	if c.Queues < 1 || c.Queues > MaxQueues {
		return c, fmt.Errorf("queues %d: want 1 to %d", c.Queues, MaxQueues)
	}
	if err := c.CheckVFs(); err != nil {
		return c, err
	}
	if err := ring.CheckSize(c.RingSize); err != nil {
		return c, fmt.Errorf("receive %w", err)
	}
	if c.BufferSize < 1024 || c.BufferSize > 16<<10 || c.BufferSize%1024 != 0 {
		return c, fmt.Errorf("packet buffers of %d bytes: want a multiple of 1024 up to 16384", c.BufferSize)
	}
	if c.MaxFrame < minFrame || c.MaxFrame > MaxFrame {
		return c, fmt.Errorf("longest frame of %d bytes: want %d to %d (without CRC)", c.MaxFrame, minFrame, MaxFrame)
	}
	if chain := c.chain(); chain >= c.RingSize {
		return c, fmt.Errorf("receive ring of %d descriptors: a frame of %d bytes takes %d: make the ring larger or MaxFrame smaller", c.RingSize, c.MaxFrame, chain)
	}
	if err := c.checkChunks(); err != nil {
		return c, err
	}
	if err := c.checkTransmit(); err != nil {
		return c, err
	}
	if c.Speed != 0 && c.Speed != maxSpeed && c.Speed != lowerSpeed {
		return c, fmt.Errorf("speed %d Mb/s: want %d or %d", c.Speed, maxSpeed, lowerSpeed)
	}
	if c.FlowDirector > SignatureFlows {
		return c, fmt.Errorf("flow director %d: want NoFlowDirector, PerfectFlows or SignatureFlows", c.FlowDirector)
	}
	if c.FlexOffset < 0 || c.FlexOffset > 60 || c.FlexOffset%2 != 0 {
		return c, fmt.Errorf("flexible bytes at %d: want an even number of 0 to 60", c.FlexOffset)
	}
	if c.Interrupts > NoInterrupts {
		return c, fmt.Errorf("interrupts %d: want LinkInterrupts, QueueInterrupts or NoInterrupts", c.Interrupts)
	}
	if c.RefillBatch < 0 || c.RefillBatch > c.RingSize/2 {
		return c, fmt.Errorf("refill batch %d: want 1 to half the ring of %d", c.RefillBatch, c.RingSize)
	}
	orDefault(&c.RefillBatch, max(1, c.RingSize/32))
	if most := c.RingSize - c.chain(); c.RefillBatch > most {
		return c, fmt.Errorf("refill batch %d: want at most %d, so that the device has the %d descriptors of a frame of %d bytes", c.RefillBatch, most, c.chain(), c.MaxFrame)
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
	var err error
	c.RSS, err = c.RSS.withDefaults(c.rssQueues(), m)
	return c, err
}

// withReceiveSizes returns c with defaults for zero sizes of rings, buffers, chunks and frames.
func (c Config) withReceiveSizes() Config {
	if c.Chunks > 0 {
		c.ChunkSize = cmp.Or(c.ChunkSize, defaultChunkSize)
	}
	c.RingSize = cmp.Or(c.RingSize, c.wholeSegments())
	c.BufferSize = cmp.Or(c.BufferSize, 2048)
	c.MaxFrame = cmp.Or(c.MaxFrame, MaxFrame)
	return c
}

// CheckChunks returns why the receive queues can have no pools of Chunks and ChunkSize; nil
// without pools.
func (c Config) CheckChunks() error { return c.withReceiveSizes().checkChunks() }

// ChunksIn returns how many chunks of ChunkSize make a pool that takes as much memory as the
// buffers of a queue without one and further bytes. It is 0 if ChunkSize is invalid.
func (c Config) ChunksIn(bytes int) int {
	c.Chunks = 2
	if c = c.withReceiveSizes(); c.checkChunks() != nil {
		return 0
	}
	return (c.RingSize + bytes/dma.Stride(c.BufferSize)) / c.ChunkSize
}

// PoolBytes is the memory of one queue's pool in bytes.
func (c Config) PoolBytes() int {
	c = c.withReceiveSizes()
	return c.Chunks * c.ChunkSize * dma.Stride(c.BufferSize)
}

// wholeSegments returns the size of the largest ring, a multiple of ChunkSize if that is valid.
func (c Config) wholeSegments() int {
	if c.ChunkSize < ring.Step || c.ChunkSize > ring.MaxSize/2 || c.ChunkSize%ring.Step != 0 {
		return ring.MaxSize
	}
	return ring.MaxSize - ring.MaxSize%c.ChunkSize
}

// checkChunks returns an error if the receive queues can have no such pools.
func (c Config) checkChunks() error {
	switch {
	case c.Chunks == 0 && c.ChunkSize == 0:
		return nil
	case c.Chunks < 2:
		return fmt.Errorf("pools of %d chunks: want at least 2", c.Chunks)
	case c.ChunkSize < ring.Step || c.ChunkSize%ring.Step != 0 || c.RingSize%c.ChunkSize != 0 || c.RingSize < 2*c.ChunkSize:
		return fmt.Errorf("chunks of %d buffers: want a multiple of %d, and the receive ring of %d descriptors a multiple of it, at least twice", c.ChunkSize, ring.Step, c.RingSize)
	case c.ChunkSize < c.chain():
		return fmt.Errorf("chunks of %d buffers: a frame of %d bytes takes %d: make them larger or MaxFrame smaller", c.ChunkSize, c.MaxFrame, c.chain())
	case c.Chunks > math.MaxInt32/c.ChunkSize:
		return fmt.Errorf("pools of %d chunks of %d buffers: want at most %d buffers", c.Chunks, c.ChunkSize, math.MaxInt32)
	}
	return nil
}

// checkTransmit returns an error if what is set of the transmit queues is invalid.
func (c Config) checkTransmit() error {
	if c.TxQueues < 0 || c.TxQueues > MaxTxQueues {
		return fmt.Errorf("transmit queues %d: want 0 to %d", c.TxQueues, MaxTxQueues)
	}
	if err := ring.CheckTxSize(c.TxRingSize); err != nil {
		return fmt.Errorf("transmit %w", err)
	}
	if c.TxBufferSize < 1024 || c.TxBufferSize > 16<<10 || c.TxBufferSize%1024 != 0 {
		return fmt.Errorf("transmit buffers of %d bytes: want a multiple of 1024 up to 16384", c.TxBufferSize)
	}
	if c.TxQueues > 0 && c.txChain() >= c.TxRingSize {
		return fmt.Errorf("transmit ring of %d descriptors: too small for a frame of %d bytes", c.TxRingSize, c.MaxFrame)
	}
	if c.TxBuffers < max(MinTxBuffers, c.txChain()) {
		return fmt.Errorf("transmit buffers %d: want at least %d, and %d for a frame of %d bytes", c.TxBuffers, MinTxBuffers, c.txChain(), c.MaxFrame)
	}
	return nil
}

// chain returns the number of descriptors of the longest frame, with two VLAN tags,
// which MAXFRS does not count.
func (c Config) chain() int {
	longest := c.MaxFrame + 8
	if c.KeepCRC {
		longest += crcSize
	}
	return (longest + c.BufferSize - 1) / c.BufferSize
}

func (c Config) txChain() int { return (c.MaxFrame + 8 + c.TxBufferSize - 1) / c.TxBufferSize }

func (c Config) memory(name string) hugepage.Options {
	return hugepage.Options{Pages: c.Pages, Node: *c.Node, Name: name}
}
