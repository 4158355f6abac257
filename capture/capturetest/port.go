package capturetest

import (
	"errors"
	"sync"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/ring"
)

// Payload is the frame of a Queue without a Frame function.
var Payload = make([]byte, 60)

// ErrGone is what GoneErr returns.
var ErrGone = errors.New("pulled out")

// Queue is a receive queue that returns the frames that a test has put.
type Queue struct {
	Frame func(n int) []byte // the n-th frame; nil: Payload

	mu            sync.Mutex
	frames, taken int
}

// Put makes n frames available.
func (q *Queue) Put(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames += n
}

// Poll implements capture.Source.
func (q *Queue) Poll(frames []ring.Frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(frames), q.frames)
	for i := range n {
		b := Payload
		if q.Frame != nil {
			b = q.Frame(q.taken + i)
		}
		frames[i] = ring.Frame{Data: b, Len: uint32(len(b))}
	}
	q.frames -= n
	q.taken += n
	return n
}

// Release implements capture.Source.
func (q *Queue) Release() {}

// put returns the number of frames that have been put.
func (q *Queue) put() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return uint64(q.taken + q.frames)
}

// Port is a port of Queues. The exported fields belong to the test.
type Port struct {
	Queues   []*Queue
	StartErr error // that Start returns
	Stopped  int   // calls of Stop
	Closed   int   // calls of Close

	ended, gone chan struct{}
}

// New returns a port with so many queues.
func New(queues int) *Port {
	p := &Port{ended: make(chan struct{}), gone: make(chan struct{})}
	for range queues {
		p.Queues = append(p.Queues, &Queue{})
	}
	return p
}

// CloseEnded ends the wire.
func (p *Port) CloseEnded() { close(p.ended) }

// CloseGone removes the device.
func (p *Port) CloseGone() { close(p.gone) }

// Name implements capture.Port.
func (p *Port) Name() string { return "fake" }

// Sources implements capture.Port.
func (p *Port) Sources() (all []capture.Source) {
	for _, q := range p.Queues {
		all = append(all, q)
	}
	return all
}

// Start implements capture.Port.
func (p *Port) Start() error { return p.StartErr }

// Stop implements capture.Stopper.
func (p *Port) Stop() error { p.Stopped++; return nil }

// Ended implements capture.Port.
func (p *Port) Ended() <-chan struct{} { return p.ended }

// Gone implements capture.Port.
func (p *Port) Gone() <-chan struct{} { return p.gone }

// GoneErr implements capture.Port.
func (p *Port) GoneErr() error { return ErrGone }

// Close implements capture.Port.
func (p *Port) Close() error { p.Closed++; return nil }

// Account implements capture.Port.
func (p *Port) Account() (a capture.Account, err error) {
	for _, q := range p.Queues {
		n := q.put()
		a.Queue = append(a.Queue, n)
		a.Received += n
		a.Wire += n
	}
	return a, nil
}
