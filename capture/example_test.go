package capture_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	_ "github.com/ixcap/ixcap/sim" // the scheme sim:
)

func Example() {
	port, err := nic.Open("sim:pcap=../testdata/hosts.pcap,rate=line", nic.Config{Queues: 1})
	if err != nil {
		log.Fatal(err)
	}
	engine, err := capture.New(port, capture.Config{Buffer: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	listener, err := engine.Stream(0).Listen("example", stream.Options{Policy: stream.Lossless})
	if err != nil {
		log.Fatal(err)
	}
	if err := engine.Start(); err != nil {
		log.Fatal(err)
	}
	go func() {
		engine.Wait(context.Background()) // until the wire ends
		engine.Stop()
	}()
	frames := 0
	for packet := range listener.Packets(context.Background()) {
		_ = packet.Time() // and packet.Data, packet.Hash, ...
		frames++
	}
	ledger, err := engine.Ledger()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(frames, "frames,", ledger.Lost(), "lost")
	// Output: 4019 frames, 0 lost
}
