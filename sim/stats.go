package sim

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/sim/wire"
)

// Stats is the truth about the port, for tests to hold the driver's counters
// against: what the wire delivered and what became of it. Bytes are without CRC.
type Stats struct {
	Offered      uint64 `json:"offered"`       // frames the wire delivered to the port
	OfferedBytes uint64 `json:"offered_bytes"` // their bytes, after the sender's padding to 60

	// Each offered frame has one fate.
	Delivered     uint64 `json:"delivered"`      // written to the host, descriptor included
	Unwritten     uint64 `json:"unwritten"`      // descriptor written, but the buffer's address is not mapped
	Missed        uint64 `json:"missed"`         // no room in the packet buffer (RXMPC)
	NoDescriptor  uint64 `json:"no_descriptor"`  // no free descriptor and SRRCTL.DROP_EN (QPRDC)
	QueueDisabled uint64 `json:"queue_disabled"` // its queue is disabled (QPRDC)
	Filtered      uint64 `json:"filtered"`       // address or VLAN filter
	Control       uint64 `json:"control"`        // MAC control frame, consumed by the MAC
	BadCRC        uint64 `json:"bad_crc"`        // CRCERRS
	Oversize      uint64 `json:"oversize"`       // ROC
	NotReceiving  uint64 `json:"not_receiving"`  // RXCTRL.RXEN was clear, SECRXCTRL.RX_DIS set, or the port in loopback
	Flushed       uint64 `json:"flushed"`        // in the packet buffer when it was reset
	Removed       uint64 `json:"removed"`        // the function had been removed
	Buffered      uint64 `json:"buffered"`       // still in the packet buffer

	DeliveredBytes uint64 `json:"delivered_bytes"`

	Sent      uint64 `json:"sent"` // frames given to the wire
	SentBytes uint64 `json:"sent_bytes"`
	SendError uint64 `json:"send_error"` // frames the wire refused

	Interrupts uint64 `json:"interrupts"` // signalled to the host
	WireError  string `json:"wire_error"` // what the wire failed with, if it did

	Faults    uint64 `json:"faults"` // descriptors, rings and addresses that made no sense
	LastFault string `json:"last_fault"`
}

// Balanced is nil when every offered frame has exactly one fate.
func (s Stats) Balanced() error {
	sum := s.Delivered + s.Unwritten + s.Missed + s.NoDescriptor + s.QueueDisabled + s.Filtered + s.Control +
		s.BadCRC + s.Oversize + s.NotReceiving + s.Flushed + s.Removed + s.Buffered
	if sum != s.Offered {
		return fmt.Errorf("model's ledger: wire delivered %d frames, fates add up to %d: %+v", s.Offered, sum, s)
	}
	return nil
}

// Stats returns the truth so far.
func (n *NIC) Stats() Stats {
	n.lock()
	defer n.mu.Unlock()
	s := n.stats
	s.Buffered = uint64(n.rx.fifo.frames())
	return s
}

// Late is by how much the wire has shifted its schedule because the device
// thread did not come in time: the sender was slower than it was told to be. It
// is 0 for a wire without a schedule, and may be called from any goroutine.
func (n *NIC) Late() time.Duration {
	if w, ok := n.wire.(wire.Scheduled); ok {
		return w.Late()
	}
	return 0
}
