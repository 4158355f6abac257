package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/doctor"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
)

// spec describes a capture with hpcapdd on a port of an 82599.
func spec(device string) doctor.Spec {
	return doctor.Spec{Device: device, Family: family(device), Needs: needs(), Bind: bind, Service: "ixcap.service"}
}

// holds is how long a port holds minimum-size frames at 10 Gb/s with its defaults.
func holds(device string) time.Duration {
	frames := ring.MaxSize + packetBuffer/64
	switch {
	case strings.HasPrefix(device, "packet:"):
		frames = 32 << 20 / 144 // a ring of 32 MiB; header and frame in it
	case strings.HasPrefix(device, "xdp:"):
		frames = 4096
	}
	return time.Duration(frames) * 672 * time.Nanosecond / 10 // 67.2 ns per frame at line rate
}

func family(device string) doctor.Family {
	return doctor.Family{
		Name:  "Intel 82599",
		Match: driver.Supports,
		None: doctor.Check{
			Name:  "device",
			State: doctor.Failed,
			Found: "no Intel 82599 on this machine",
			Why:   "a capture needs one, or the software 82599",
			Fix:   "hpcapdd -i sim:gen,size=60,rate=1Mpps -w null --duration 10s    # software 82599",
		},
		Instead: "Name a port of an Intel 82599. Other interfaces are captured with sockets of the kernel: hpcapdd -i xdp:IFACE or packet:IFACE",
		Bus: doctor.Bus{
			Gbps: 16,
			Why:  "descriptors and small frames at line rate need more than 10 Gb/s of the bus; the port drops the rest (RXMPC)",
			Fix:  "put the card into a slot of 5 GT/s with 8 lanes (x8)",
		},
		Holds: holds(device),
	}
}

// packetBuffer is the receive packet buffer of the 82599, in bytes. It holds frames
// in units of 64 bytes.
const packetBuffer = 512 << 10

// umem is the most packet memory that a queue of an xdp port has by default (docs/PORTS.md).
const umem = 72 << 20

// bind returns the command of vfio-bind.
func bind(b doctor.Binding) string {
	command := "sudo examples/vfio-bind bind " + b.Address + " -u $USER"
	if b.HugePages > 0 {
		command += fmt.Sprintf(" --hugepages %d", b.HugePages)
		if b.Node >= 0 {
			command += fmt.Sprintf("@%d", b.Node)
		}
	}
	if b.Force {
		command += " --force"
	}
	return command
}

// Defaults of hpcapdd with one queue. The descriptor ring and the packet buffers are
// mapped for DMA; the stream and its index are not.
const (
	buffer      = 256 << 20 // its --buffer
	packet      = 2048      // a packet buffer in memory
	indexPer    = 256       // stream bytes per index entry
	indexEntry  = 32        // bytes
	streamPages = 40 << 10  // header, cursors, and the segment table of a GiB
)

func needs() doctor.Needs {
	index := func(stream int) int { return streamPages + stream/indexPer*indexEntry }
	small, large := int(hugepage.Size2M), int(hugepage.Size1G)
	return doctor.Needs{
		Pages2M: mapped(small) + pages(buffer, small) + pages(index(buffer), small),
		Lock2M:  int64(mapped(small)) * int64(small),
		// A stream is a multiple of its page; its index is always in 2 MiB pages.
		Pages1G: mapped(large) + 1,
		Small2M: pages(index(large), small),
		Lock1G:  int64(mapped(large)) * int64(large),
		Cores:   1,
	}
}

// mapped returns the number of pages mapped for DMA.
func mapped(page int) int {
	return pages(ring.MaxSize*ring.DescriptorSize, page) + pages(ring.MaxSize*dma.Stride(packet), page)
}

func pages(bytes, page int) int { return (bytes + page - 1) / page }
