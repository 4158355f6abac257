package main

import (
	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// What hpcapdd takes for its one queue, unless it is told otherwise: a ring and
// packet buffers, which the port reaches, and a stream with its index, which it
// does not. The test captures with exactly that much.
const (
	buffer      = 256 << 20 // its -buffer
	packet      = 2048      // a packet buffer
	indexPer    = 256       // stream bytes for an index entry of
	indexEntry  = 32        // bytes
	streamPages = 40 << 10  // header, cursors, and the segment table of a GiB
)

func needs() pci.Needs {
	index := func(stream int) int { return streamPages + stream/indexPer*indexEntry }
	small, large := int(hugepage.Size2M), int(hugepage.Size1G)
	return pci.Needs{
		Pages2M: reached(small) + pages(buffer, small) + pages(index(buffer), small),
		Lock2M:  int64(reached(small)) * int64(small),
		// A stream consists of whole pages, and its index is of 2 MiB pages always.
		Pages1G: reached(large) + 1,
		Small2M: pages(index(large), small),
		Lock1G:  int64(reached(large)) * int64(large),
		Cores:   1,
	}
}

// reached is how many pages hold what the port reaches.
func reached(page int) int {
	return pages(ring.MaxSize*ring.DescriptorSize, page) + pages(ring.MaxSize*dma.Stride(packet), page)
}

func pages(bytes, page int) int { return (bytes + page - 1) / page }
