package driver_test

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkWake measures the time from a signal until the reader continues, for a
// reader that sleeps on its eventfd and one that polls a variable.
func BenchmarkWake(b *testing.B) {
	var at, seen atomic.Int64
	begin := time.Now()
	now := func() int64 { return int64(time.Since(begin)) + 1 }
	measure := func(b *testing.B, signal, wait func(), rest time.Duration) {
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			defer close(done)
			for !stop.Load() {
				wait()
				if t := at.Swap(0); t != 0 {
					seen.Store(now() - t)
				}
			}
		}()
		var all []int64
		for b.Loop() {
			for end := now() + int64(rest); now() < end; {
				runtime.Gosched()
			}
			seen.Store(0)
			at.Store(now())
			signal()
			for seen.Load() == 0 {
				runtime.Gosched()
			}
			all = append(all, seen.Load())
		}
		stop.Store(true)
		signal()
		<-done
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2]), "ns/wake")
		b.ReportMetric(float64(all[len(all)*99/100]), "p99-ns")
	}
	b.Run("poll", func(b *testing.B) { measure(b, func() {}, func() {}, 50*time.Microsecond) })
	b.Run("sleep", func(b *testing.B) {
		s := newSleepRig(b, 4096)
		measure(b, s.fire, func() { s.q.Sleep(time.Second) }, 50*time.Microsecond)
	})
}
