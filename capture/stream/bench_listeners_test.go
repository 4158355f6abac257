package stream

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/ring"
)

// fed is a stream with listeners that keep up.
type fed struct {
	producer *Producer
	stamper  *clock.Stamper
	all      []*Listener
	costs    []uint64 // ticks of a batch each
}

// feedTo attaches lossless listeners that read all frames and sleep in between, as
// listeners of a capture do.
func feedTo(b *testing.B, listeners int) *fed {
	s := newStream(b, Config{Size: 16 * Block})
	d := &fed{producer: s.Producer(), stamper: newStamper(b)}
	ctx, cancel := context.WithCancel(b.Context())
	var readers sync.WaitGroup
	for range listeners {
		l := listen(b, s, Options{})
		d.all = append(d.all, l)
		readers.Go(func() {
			packets := make([]Packet, 1024)
			for {
				if _, err := l.ReadBatch(ctx, packets); err != nil {
					return
				}
			}
		})
	}
	b.Cleanup(func() { cancel(); readers.Wait() })
	return d
}

// store stores and publishes a batch and records the cost. It returns false if the
// producer was held back: the readers did not keep up and the cost is dropped.
func (d *fed) store(frames []ring.Frame) bool {
	d.stamper.Update()
	start := clock.Ticks()
	n := d.producer.AppendBatch(d.stamper, frames, 0)
	d.producer.Publish()
	took := clock.Ticks() - start
	if n == len(frames) {
		d.costs = append(d.costs, took)
		return true
	}
	runtime.Gosched()
	return false
}

// perFrame returns the mean cost in ns a frame, without the most expensive 3 of 1000
// batches, which the machine interrupted. The producer loads the cursors in one of
// 64 batches, which a median would not show.
func (d *fed) perFrame(frames int) float64 {
	slices.Sort(d.costs)
	kept, sum := d.costs[:len(d.costs)*997/1000], uint64(0)
	for _, c := range kept {
		sum += c
	}
	return float64(d.stamper.Nanoseconds(sum)) / float64(len(kept)*frames)
}

// BenchmarkListeners measures what listeners that keep up cost the producer: the mean
// of AppendBatch and Publish over batches of 64 smallest frames at 10 GbE's line
// rate. In 8, batches go in turns to a stream with one listener and to one with
// eight, so that the load of the machine is the same for both; ratio is the cost
// with eight over that with one.
func BenchmarkListeners(b *testing.B) {
	const batch, spacing = 64, 4301 // ns a batch
	frames := make([]ring.Frame, batch)
	for i := range frames {
		frames[i] = *numbered(uint32(i), 60)
	}
	run := func(b *testing.B, sides ...*fed) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		held := 0
		for b.Loop() {
			for _, d := range sides {
				start := clock.Ticks()
				for !d.store(frames) {
					held++
				}
				for d.stamper.Nanoseconds(clock.Ticks()-start) < spacing {
				}
			}
		}
		b.ReportMetric(sides[0].perFrame(batch), "ns/frame")
		b.ReportMetric(float64(held), "held")
	}
	b.Run("1", func(b *testing.B) { run(b, feedTo(b, 1)) })
	b.Run("8", func(b *testing.B) {
		eight, one := feedTo(b, 8), feedTo(b, 1)
		run(b, eight, one)
		b.ReportMetric(eight.perFrame(batch)/one.perFrame(batch), "ratio")
	})
}
