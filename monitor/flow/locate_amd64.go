package flow

import (
	"golang.org/x/sys/cpu"

	"github.com/ixcap/ixcap/capture/stream"
)

// prefetchData begins to load the headers of packets.
//
//go:noescape
func prefetchData(packets []stream.Packet)

// prefetchLines begins to load the bucket of each packet.
//
//go:noescape
func prefetchLines(packets []packet, buckets *bucket, mask uint64)

// locateAVX2 is locate, and begins to load the cache lines of the flows: of an entry the head
// and those of the packet's direction. It leaves flows that are not in the bucket of their hash
// to find.
//
//go:noescape
func locateAVX2(packets []packet, buckets *bucket, mask uint64, entries *entry, shorts *short)

// prefetchLeads begins to load the cache lines of a flow that its first packets touch. It needs
// the heads of flows.
//
//go:noescape
func prefetchLeads(packets []packet, entries *entry)

// prefetchBucket begins to load a bucket.
//
//go:noescape
func prefetchBucket(b *bucket)

// prefetchEntry begins to load all cache lines of an entry.
//
//go:noescape
func prefetchEntry(f *entry)

func (e *Engine) prefetchBuckets(packets []packet) { prefetchLines(packets, &e.buckets[0], e.mask) }

// locate finds the entries that may be those of packets.
func (e *Engine) locate(packets []packet) {
	if !cpu.X86.HasAVX2 {
		e.locateGo(packets)
		return
	}
	locateAVX2(packets, &e.buckets[0], e.mask, &e.entries[0], &e.shorts[0])
}
