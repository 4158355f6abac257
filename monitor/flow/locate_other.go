//go:build !amd64

package flow

import "github.com/ixcap/ixcap/capture/stream"

func prefetchData([]stream.Packet) {}

func prefetchLeads([]packet, *entry) {}

func prefetchBucket(*bucket) {}

func prefetchEntry(*entry) {}

func (e *Engine) prefetchBuckets([]packet) {}

func (e *Engine) locate(packets []packet) { e.locateGo(packets) }
