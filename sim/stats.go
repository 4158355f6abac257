package sim

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/sim/wire"
)

// Stats counts the frames of the port by outcome, as the reference for a driver's
// counters. Bytes exclude the CRC.
type Stats struct {
	Offered      uint64 `json:"offered"`       // frames that the wire delivered to the port
	OfferedBytes uint64 `json:"offered_bytes"` // with the sender's padding to 60 bytes

	// Copies are frames for further pools: replicas, mirrored frames, and frames that
	// a function sent to another of this port.
	Copies uint64 `json:"copies"`

	// Each offered frame, and each copy, has one outcome. With FCTRL.SBP bad frames
	// have those of good ones.
	Delivered     uint64 `json:"delivered"`      // written to the host and its descriptor written back
	Unwritten     uint64 `json:"unwritten"`      // descriptor written back, but the buffer's address is not mapped
	Missed        uint64 `json:"missed"`         // no room in the packet buffer (RXMPC)
	NoDescriptor  uint64 `json:"no_descriptor"`  // no free descriptor and SRRCTL.DROP_EN (QPRDC)
	QueueDisabled uint64 `json:"queue_disabled"` // its queue is disabled (QPRDC)
	Filtered      uint64 `json:"filtered"`       // dropped by the address or VLAN filter
	Control       uint64 `json:"control"`        // MAC control frame, consumed by the MAC
	BadCRC        uint64 `json:"bad_crc"`        // CRCERRS
	Oversize      uint64 `json:"oversize"`       // ROC, RJC
	Undersize     uint64 `json:"undersize"`      // RUC, RFC
	BadByte       uint64 `json:"bad_byte"`       // ERRBC, ILLERRC
	BadLength     uint64 `json:"bad_length"`     // RLEC
	NotReceiving  uint64 `json:"not_receiving"`  // RXCTRL.RXEN was clear, SECRXCTRL.RX_DIS set, or the port in loopback
	Flushed       uint64 `json:"flushed"`        // in the packet buffer at a reset
	Removed       uint64 `json:"removed"`        // received after the function was removed
	Buffered      uint64 `json:"buffered"`       // still in the packet buffer

	DeliveredBytes uint64 `json:"delivered_bytes"`

	Sent      uint64 `json:"sent"` // frames sent to the wire
	SentBytes uint64 `json:"sent_bytes"`
	SendError uint64 `json:"send_error"` // frames that the wire refused

	Interrupts uint64 `json:"interrupts"` // signalled
	WireError  string `json:"wire_error"` // error of the wire

	Faults    uint64 `json:"faults"` // invalid descriptors, rings and addresses
	LastFault string `json:"last_fault"`
}

// Balanced returns an error unless every offered frame has exactly one outcome.
func (s Stats) Balanced() error {
	sum := s.Delivered + s.Unwritten + s.Missed + s.NoDescriptor + s.QueueDisabled + s.Filtered + s.Control +
		s.BadCRC + s.Oversize + s.Undersize + s.BadByte + s.BadLength + s.NotReceiving + s.Flushed + s.Removed + s.Buffered
	if sum != s.Offered+s.Copies {
		return fmt.Errorf("balance the model's counters: %d frames offered and %d copies, outcomes add up to %d: %+v", s.Offered, s.Copies, sum, s)
	}
	return nil
}

// Stats returns the current counters.
func (n *NIC) Stats() Stats {
	n.lock()
	defer n.mu.Unlock()
	s := n.stats
	s.Buffered = uint64(n.rx.fifo.frames())
	return s
}

// Late is the total time by which the wire has delayed its schedule because the
// device thread polled late: the sender was slower than its rate. It is 0 for a
// wire without a schedule, and with backpressure, where the receiver sets the rate. It
// may be called from any goroutine.
func (n *NIC) Late() time.Duration {
	if w, ok := n.wire.(wire.Scheduled); ok && !w.Backpressure() {
		return w.Late()
	}
	return 0
}
