package flow

import "github.com/ixcap/ixcap/capture/stream"

// prefetchData begins to load the headers of packets.
//
//go:noescape
func prefetchData(packets []stream.Packet)

// prefetchLines begins to load the bucket of each packet.
//
//go:noescape
func prefetchLines(packets []packet, buckets *bucket, mask uint64)

// prefetchFlows begins to load the cache lines of the flows that candidate found: of an entry
// the head and those of the packet's direction.
//
//go:noescape
func prefetchFlows(packets []packet, entries *entry, shorts *short)

// prefetchBucket begins to load a bucket.
//
//go:noescape
func prefetchBucket(b *bucket)

func (e *Engine) prefetchBuckets(packets []packet) { prefetchLines(packets, &e.buckets[0], e.mask) }

func (e *Engine) prefetchEntries(packets []packet) {
	prefetchFlows(packets, &e.entries[0], &e.shorts[0])
}
