package transmit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// Port is an 82599 that sends. It does not receive.
type Port struct {
	dev  pci.Device
	port *driver.Port
	ps   int64 // of a byte on the line

	queues int

	posted uint64 // frames so far, for Drain
}

// PortConfig is how a port is opened.
type PortConfig struct {
	Queues   int
	MaxFrame int // bytes of the longest frame, without CRC

	// OnEvent, if not nil, is called as driver.Config.OnEvent is, but not for the first
	// link.
	OnEvent func(driver.Event)
}

// What all transmit rings hold together: 8 ms of a million frames a second.
const (
	ringSizes  = ring.MaxTxSize
	ringMemory = 16 << 20 // bytes of buffers
)

const linkTimeout = 10 * time.Second

// Open opens the device of that name (see pci.Open) and waits for the link. Close releases
// it.
func Open(ctx context.Context, name string, cfg PortConfig) (*Port, error) {
	if kind, _, ok := strings.Cut(name, ":"); ok && (kind == "packet" || kind == "xdp") {
		return nil, fmt.Errorf("open %s to send: sockets of the kernel have no descriptors with a rate, a CRC or a time. Send through an 82599, or with tcpreplay", name)
	}
	dev, err := pci.Open(name)
	if err != nil {
		return nil, err
	}
	size := 2048
	for size < cfg.MaxFrame+4 && size < 16<<10 { // with the CRC of a filler frame
		size += 1024
	}
	p := &Port{dev: dev, queues: cfg.Queues, ps: 800}
	descriptors := ringSizes / cfg.Queues / ring.Step * ring.Step
	p.port, err = driver.Open(dev, driver.Config{
		RingSize: 64,
		TxQueues: cfg.Queues, TxRingSize: descriptors, TxBuffers: min(descriptors, ringMemory/cfg.Queues/size), TxBufferSize: size,
		MaxFrame: min(max(cfg.MaxFrame, 1518), driver.MaxFrame),
		OnEvent:  withoutFirstLink(cfg.OnEvent),
	})
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	limit, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	link, err := p.port.WaitLink(limit)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if link.Speed > 0 {
		p.ps = int64(8e6 / link.Speed)
	}
	return p, nil
}

func withoutFirstLink(f func(driver.Event)) func(driver.Event) {
	first := true
	return func(e driver.Event) {
		up := e.Kind == driver.LinkChanged && e.Link.Up
		if f != nil && !(up && first) {
			f(e)
		}
		first = false
	}
}

// Close releases the port and its device.
func (p *Port) Close() error { return errors.Join(p.port.Close(), p.dev.Close()) }

// Speed returns the speed of the line in bits a second.
func (p *Port) Speed() float64 { return 8e12 / float64(p.ps) }

// MAC returns the port's address.
func (p *Port) MAC() [6]byte { return [6]byte(p.port.MAC()) }

// Record makes the device record when it sends the next so many frames, if it can.
func (p *Port) Record(frames int) {
	if r, ok := p.dev.(pci.SendRecorder); ok {
		r.RecordSent(frames)
	}
}

// Sent returns the frames of a queue that left the port, as far as they were recorded.
func (p *Port) Sent(queue int) (sent []pci.SentFrame) {
	r, ok := p.dev.(pci.SendRecorder)
	if !ok {
		return nil
	}
	frames, _ := r.Sent()
	for _, f := range frames {
		if f.Queue == queue {
			sent = append(sent, f)
		}
	}
	return sent
}

// drainTime is how long the device may send nothing before Drain gives up.
const drainTime = 2 * time.Second

// Drain waits until the device has sent so many frames since Open (GPTC), those with a
// wrong CRC too. Lost are those that a reset of the device discarded.
func (p *Port) Drain(frames uint64) (lost uint64, err error) {
	last, progress := uint64(0), time.Now()
	for {
		s, err := p.port.Stats()
		if err != nil {
			return 0, err
		}
		switch {
		case s.Sent >= frames:
			return 0, nil
		case s.Sent+p.discarded() >= frames:
			return frames - s.Sent, nil
		case s.Sent != last:
			last, progress = s.Sent, time.Now()
		case time.Since(progress) > drainTime:
			if p.discarded() > 0 {
				return frames - s.Sent, nil
			}
			return 0, fmt.Errorf("send: %d of %d frames have not left the port, whose link is %v", frames-s.Sent, frames, p.port.Link())
		}
		time.Sleep(time.Millisecond)
	}
}

// discarded returns the number of frames in rings that a reset of the device discarded.
func (p *Port) discarded() (n uint64) {
	for i := range p.queues {
		n += p.port.TxQueue(i).Discarded()
	}
	return n
}
