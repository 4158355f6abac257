package packetsource

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"

	"github.com/gopacket/gopacket"

	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
)

// batch is how many packets are taken from the stream at once.
const batch = 256

// Source reads the packets of a listener that match a filter. Its reading methods
// belong to one goroutine at a time. Listener's own reading methods must not be
// mixed with them.
type Source struct {
	*stream.Listener
	queue    int
	filter   *pcapfilter.Filter
	packets  []stream.Packet
	next, n  int // of packets: the next one, how many there are
	err      error
	filtered atomic.Uint64
	closed   atomic.Bool
}

var (
	_ gopacket.PacketDataSource         = (*Source)(nil)
	_ gopacket.ZeroCopyPacketDataSource = (*Source)(nil)
)

// New returns a source that reads l. A nil filter matches every packet. Closing the
// source closes the listener.
func New(l *stream.Listener, filter *pcapfilter.Filter) *Source {
	_, queue := l.Source()
	return &Source{Listener: l, queue: queue, filter: filter, packets: make([]stream.Packet, batch)}
}

// Queue returns the receive queue of the packets.
func (s *Source) Queue() int { return s.queue }

// Filtered returns the number of packets that did not match. They count as read in
// Stats. Any goroutine may call it.
func (s *Source) Filtered() uint64 { return s.filtered.Load() }

// Close detaches the listener. A call that waits in another goroutine returns
// stream.ErrClosed. Packets must not be used any more.
func (s *Source) Close() error {
	s.closed.Store(true)
	return s.Listener.Close()
}

// Next returns the next packet that matches, valid until the next call. At the end
// of the stream it returns io.EOF. It does not allocate.
func (s *Source) Next(ctx context.Context) (*stream.Packet, error) {
	for {
		for s.next < s.n {
			if s.closed.Load() { // the rest of the batch is not mapped any more
				return nil, stream.ErrClosed
			}
			p := &s.packets[s.next]
			s.next++
			if s.filter == nil || s.filter.Match(p.Data, int(p.Len)) {
				return p, nil
			}
			s.filtered.Add(1)
		}
		n, err := s.ReadBatch(ctx, s.packets)
		s.next, s.n = 0, n
		if err != nil {
			return nil, err
		}
	}
}

// Packets returns an iterator over the packets that match, until the stream ends,
// ctx is done or the source is closed; Err then returns why. A packet is valid
// until the next iteration.
//
// When ctx is done the source is closed: a lossless listener that is no longer read
// would hold the capture back. Packets in the stream stay unread. To read them, use
// another context than that of the capture.
func (s *Source) Packets(ctx context.Context) iter.Seq[stream.Packet] {
	return func(yield func(stream.Packet) bool) {
		for s.err = nil; ; {
			p, err := s.nextUnlessDone(ctx)
			switch {
			case err == io.EOF:
				return
			case err != nil:
				s.err = err
				if ctx.Err() != nil {
					_ = s.Close() // the first close of an attached listener cannot fail
				}
				return
			case !yield(*p):
				return
			}
		}
	}
}

// nextUnlessDone is Next, but checks ctx for each packet and not for each batch.
func (s *Source) nextUnlessDone(ctx context.Context) (*stream.Packet, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	default:
		return s.Next(ctx)
	}
}

// Err returns why the last loop over Packets ended: nil at the end of the stream
// and after a break.
func (s *Source) Err() error { return s.err }

// ReadPacketData implements gopacket.PacketDataSource. It returns io.EOF at the end
// of the stream, and once the source is closed or detached: gopacket.PacketSource
// retries errors that it does not know forever (v1.7.7, packetsToChannel).
func (s *Source) ReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	data, info, err := s.ZeroCopyReadPacketData()
	return bytes.Clone(data), info, err
}

// ZeroCopyReadPacketData implements gopacket.ZeroCopyPacketDataSource: the data lies
// in the stream (for a lossy listener in a copy) and is valid until the next call.
// Errors are those of ReadPacketData.
func (s *Source) ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error) {
	p, err := s.Next(context.Background())
	if errors.Is(err, stream.ErrClosed) || errors.Is(err, stream.ErrDetached) || errors.Is(err, stream.ErrAbandoned) {
		s.err, err = err, io.EOF
	}
	if err != nil {
		return nil, gopacket.CaptureInfo{}, err
	}
	return p.Data, gopacket.CaptureInfo{
		Timestamp: p.Time(), CaptureLength: len(p.Data), Length: int(p.Len), InterfaceIndex: s.queue,
	}, nil
}
