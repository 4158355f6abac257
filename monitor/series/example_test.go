package series_test

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/monitor/series"
)

// A program that reads a stream passes its packets to a Counter, and the time to the
// Recorder. Seconds go to a Store, which is asked by interval.
func Example() {
	config := series.Config{Expressions: []series.Expression{{Name: "dns", Text: "udp port 53"}}}
	var store *series.Store
	config.OnPoint = func(p *series.Point) {
		if err := store.Add(p); err != nil {
			fmt.Println(err)
		}
	}
	recorder, err := series.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	store = series.NewMemory(recorder.Names())
	counter := recorder.NewCounter(series.Sources{}) // one for each queue

	begin := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	recorder.Advance(begin)
	for i := range 3 {
		now := begin.Add(time.Duration(i) * time.Second)
		counter.Add([]stream.Packet{{Data: make([]byte, 60), Sec: uint32(now.Unix()), Len: 60}})
		recorder.Advance(now)
	}
	recorder.Close(begin.Add(3 * time.Second))

	for p, err := range store.Points(begin, begin.Add(time.Minute), series.Minute) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d of 60 seconds, %d packets, %d bytes\n", p.Seconds, p.Series[series.All].Packets, p.Series[series.All].Bytes)
	}
	// Output: 4 of 60 seconds, 3 packets, 180 bytes
}
