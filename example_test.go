package ixcap_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ixcap/ixcap"
	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/ring"
)

// The software 82599 replays a file; a card is named eth2 or 0000:03:00.0.
const port = "sim:pcap=testdata/hosts.pcap,rate=line,backpressure"

// Capture and count.
func Example() {
	ctx := context.Background()
	c, err := ixcap.Open(ctx, port)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	listeners, err := c.Listen("count")
	if err != nil {
		log.Fatal(err)
	}
	var frames, bytes int
	var reading sync.WaitGroup
	reading.Go(func() {
		for p := range listeners[0].Packets(ctx) {
			frames++
			bytes += int(p.Len)
		}
	})
	ledger, err := c.Run(ctx) // until the replay ends
	if err != nil {
		log.Fatal(err)
	}
	reading.Wait()
	fmt.Println(frames, "frames,", bytes, "bytes,", ledger.Lost(), "lost")
	// Output: 4019 frames, 1843049 bytes, 0 lost
}

// Drop frames in the chip, before they reach memory.
func Example_portFilters() {
	ctx := context.Background()
	c, err := ixcap.Open(ctx, port, ixcap.PortFilters("(ip and tcp) drop"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ledger, err := c.Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ledger.Account.Wire, "frames,", ledger.Account.Filtered, "dropped by the port,", ledger.Account.Received, "received")
	// Output: 4019 frames, 1660 dropped by the port, 2359 received
}

// Count flows on two queues with gopacket: both directions of a flow come to the
// same queue, so each queue has a table of its own.
func Example_flows() {
	ctx := context.Background()
	c, err := ixcap.Open(ctx, port, ixcap.Queues(2))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	listeners, err := c.Listen("flows", ixcap.ListenFilter("tcp"))
	if err != nil {
		log.Fatal(err)
	}
	type key struct{ network, transport gopacket.Flow }
	flows := make([]map[key]int, len(listeners))
	var reading sync.WaitGroup
	for q, l := range listeners {
		flows[q] = map[key]int{}
		reading.Go(func() {
			packets := gopacket.NewPacketSource(l, layers.LinkTypeEthernet)
			packets.NoCopy = true
			for p := range packets.Packets() {
				if p.NetworkLayer() == nil || p.TransportLayer() == nil {
					continue
				}
				k := key{p.NetworkLayer().NetworkFlow(), p.TransportLayer().TransportFlow()}
				if reverse := (key{k.network.Reverse(), k.transport.Reverse()}); flows[q][reverse] > 0 {
					k = reverse
				}
				flows[q][k]++
			}
		})
	}
	if _, err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
	reading.Wait()
	fmt.Println(len(flows[0])+len(flows[1]), "TCP flows")
	// Output: 43 TCP flows
}

// A second process attaches to a running capture by the path of a socket.
func Example_attach() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "ixcap")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c, err := ixcap.Open(ctx, port, ixcap.Share(dir)) // or hpcapdd --share DIR
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	// The other process:
	l, err := ixcap.Attach(filepath.Join(dir, "queue0.sock"), "dns", ixcap.ListenFilter("port 53"))
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	packets := 0
	var reading sync.WaitGroup
	reading.Go(func() {
		for range l.Packets(ctx) {
			packets++
		}
	})

	if _, err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
	reading.Wait()
	fmt.Println(packets, "packets of", packets+int(l.Filtered()))
	// Output: 400 packets of 4019
}

// Store every frame to RAW files.
func Example_store() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "ixcap")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	c, err := ixcap.Open(ctx, port, ixcap.Store(dir), ixcap.Filter("udp or tcp"), ixcap.SnapLen(96))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ledger, err := c.Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.raw"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(files), "file,", ledger.Storers[0].Written, "bytes")
	// Output: 1 file, 288080 bytes
}

// counter is a port of the program's own: it makes frames of 60 bytes.
type counter struct {
	frames, made int
	data         [60]byte
	ended        chan struct{}
}

func (c *counter) Name() string              { return "counter" }
func (c *counter) Sources() []capture.Source { return []capture.Source{c} }
func (c *counter) Start() error              { return nil }
func (c *counter) Ended() <-chan struct{}    { return c.ended }
func (c *counter) Gone() <-chan struct{}     { return nil }
func (c *counter) GoneErr() error            { return nil }
func (c *counter) Close() error              { return nil }
func (c *counter) Release()                  {}
func (c *counter) Account() (capture.Account, error) {
	n := uint64(c.frames)
	return capture.Account{Wire: n, Received: n, Queue: []uint64{n}}, nil
}

func (c *counter) Poll(frames []ring.Frame) (n int) {
	for n < len(frames) && c.made < c.frames {
		frames[n] = ring.Frame{Data: c.data[:], Len: uint32(len(c.data))}
		n++
		if c.made++; c.made == c.frames {
			close(c.ended)
		}
	}
	return n
}

// A source of the program's own in place of a network card.
func Example_source() {
	ctx := context.Background()
	c, err := ixcap.OpenSource(ctx, &counter{frames: 1000, ended: make(chan struct{})}, ixcap.Buffer(4<<20))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	listeners, err := c.Listen("count")
	if err != nil {
		log.Fatal(err)
	}
	packets := 0
	var reading sync.WaitGroup
	reading.Go(func() {
		for range listeners[0].Packets(ctx) {
			packets++
		}
	})
	if _, err := c.Run(ctx); err != nil {
		log.Fatal(err)
	}
	reading.Wait()
	fmt.Println(packets, "packets")
	// Output: 1000 packets
}
