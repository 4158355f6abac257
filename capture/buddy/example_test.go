package buddy_test

import (
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ixcap/ixcap/capture/buddy"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
	_ "github.com/ixcap/ixcap/sim" // "sim:" devices
)

// Two receive queues share two consumers, each with a goroutine. That of queue 0 is busy with
// something else until the group has moved some of its chunks.
func Example() {
	device, err := pci.Open("sim:gen,flows=100,count=6000,rate=500kpps")
	if err != nil {
		log.Fatal(err)
	}
	port, err := driver.Open(device, driver.Config{Queues: 2, Chunks: 20, ChunkSize: 256, MaxFrame: 1514})
	if err != nil {
		log.Fatal(err)
	}
	group, err := buddy.New(buddy.Config{Threshold: 0.1}, port.RxPool(0), port.RxPool(1))
	if err != nil {
		log.Fatal(err)
	}
	if err := port.Start(); err != nil {
		log.Fatal(err)
	}
	const (
		all  = 6000
		idle = 50 * time.Microsecond
	)
	var frames, moved atomic.Int64
	var threads sync.WaitGroup
	for i := range group.Queues() {
		queue := group.Queue(i)
		threads.Go(func() { // the capture thread
			for frames.Load() < all {
				if queue.Capture(true) == 0 {
					time.Sleep(idle)
				}
			}
		})
		threads.Go(func() { // the consumer
			for i == 0 && moved.Load() == 0 {
				time.Sleep(idle)
			}
			for frames.Load() < all {
				chunk, ok := queue.Next()
				if !ok {
					time.Sleep(idle)
					continue
				}
				if chunk.Moved() {
					moved.Add(1)
				}
				n := len(chunk.Frames())
				if err := group.Recycle(chunk); err != nil {
					log.Fatal(err)
				}
				frames.Add(int64(n))
			}
		})
	}
	threads.Wait()
	fmt.Println(frames.Load(), "frames; some were moved:", moved.Load() > 0)
	fmt.Println("counts:", buddy.Balanced(group.Stats()))
	for _, closer := range []interface{ Close() error }{group, port, device} {
		if err := closer.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 6000 frames; some were moved: true
	// counts: <nil>
}
