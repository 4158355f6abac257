package vfiouser_test

import (
	"testing"

	"github.com/ixcap/ixcap/sim/server/servertest"
)

// A doorbell store: shadow memory and an eventfd write, which wakes the device's thread.
func BenchmarkDoorbellStore(b *testing.B) {
	_, d, _ := pair(b, 1)
	r := bar0(b, d)
	b.ReportAllocs()
	var v uint32
	for b.Loop() {
		v++
		r.Store32(servertest.Doorbell, v)
	}
}

// A trapped register: a message and its reply, between threads of one process.
func BenchmarkTrappedLoad(b *testing.B) {
	_, d, _ := pair(b, 1)
	r := bar0(b, d)
	b.ReportAllocs()
	for b.Loop() {
		r.Load32(0x10)
	}
}

func BenchmarkTrappedStore(b *testing.B) {
	_, d, _ := pair(b, 1)
	r := bar0(b, d)
	b.ReportAllocs()
	for b.Loop() {
		r.Store32(0x10, 1)
	}
}
