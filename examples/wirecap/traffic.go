package main

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/sim/wire"
)

const (
	queues = 4
	flows  = 4000              // over all queues
	stride = 50_000 * tick     // of virtual time: a pass of the device
	second = int64(1e9 * tick) // in ticks
)

// traffic is how frames are spread over the receive queues, as parts of what one consumer
// can do.
type traffic struct {
	name string
	of   func(load float64, at int64) [queues]float64 // load: of what all consumers can do
}

// longTerm is a flow distribution that lasts: queue 0 gets 60 % of all.
var longTerm = traffic{"long-term imbalance", func(load float64, _ int64) (parts [queues]float64) {
	for i, share := range [queues]float64{0.60, 0.20, 0.12, 0.08} {
		parts[i] = share * load * queues
	}
	return parts
}}

// shortTerm has bursts of 0.6 seconds, each second to the next queue. The load is that in a burst.
var shortTerm = traffic{"short-term imbalance", func(load float64, at int64) (parts [queues]float64) {
	const base = 0.2
	for i := range parts {
		parts[i] = base
	}
	if at%second < second*6/10 {
		parts[at/second%queues] = load*queues - (queues-1)*base
	}
	return parts
}}

// trafficWire delivers frames of a traffic by the time that the experiment sets.
type trafficWire struct {
	traffic
	load   float64
	cost   int64 // ticks of a frame
	random *rand.Rand

	flows   [queues][][]byte // frames of flows, each as often as it is sent
	due     [queues]float64
	pending [][]byte
	ended   bool
}

func newTrafficWire(t traffic, load float64, cost time.Duration) (*trafficWire, error) {
	w := &trafficWire{traffic: t, load: load, cost: int64(cost) * tick, random: rand.New(rand.NewPCG(1, 2))}
	options, err := wire.ParseOptions("gen,size=60,flows=4000,count=4000")
	if err != nil {
		return nil, err
	}
	gen, err := wire.NewGenerator(options)
	if err != nil {
		return nil, err
	}
	var distinct [queues][][]byte
	for i := range uint64(flows) {
		f := gen.Append(nil, i)
		q := queueOf(f)
		distinct[q] = append(distinct[q], f)
	}
	// The n-th flow of a queue has a share of 1/n (Zipf): a few carry much, most little.
	for q, all := range distinct {
		for n, f := range all {
			for range max(1, len(all)/(n+1)) {
				w.flows[q] = append(w.flows[q], f)
			}
		}
	}
	return w, nil
}

// queueOf returns the receive queue of a frame by RSS, as the driver sets it up.
func queueOf(f []byte) int {
	src := netip.AddrPortFrom(netip.AddrFrom4([4]byte(f[26:30])), uint16(f[34])<<8|uint16(f[35]))
	dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte(f[30:34])), uint16(f[36])<<8|uint16(f[37]))
	return int(driver.SymmetricKey.Hash(src, dst)%driver.RSSTableSize) % queues
}

// advance makes the frames due of a stride of time.
func (w *trafficWire) advance(now int64) {
	w.pending = w.pending[:0]
	for q, part := range w.of(w.load, now) {
		for w.due[q] += part * stride / float64(w.cost); w.due[q] >= 1; w.due[q]-- {
			w.pending = append(w.pending, w.flows[q][w.random.IntN(len(w.flows[q]))])
		}
	}
}

// Receive implements wire.Wire.
func (w *trafficWire) Receive(frames []wire.Frame, _ int) (n int, err error) {
	if w.ended && len(w.pending) == 0 {
		return 0, io.EOF
	}
	for n < len(frames) && n < len(w.pending) {
		frames[n] = wire.Frame{Data: w.pending[n]}
		n++
	}
	w.pending = w.pending[n:]
	return n, nil
}

// Send implements wire.Wire.
func (w *trafficWire) Send([]byte) error { return nil }

// Up implements wire.Wire.
func (w *trafficWire) Up() bool { return true }

// Close implements wire.Wire.
func (w *trafficWire) Close() error { return nil }
