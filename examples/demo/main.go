// Demo sends a pcap file at line rate into the software 82599, captures it to
// RAW files through driver, engine and storer, and compares the files with what
// was sent, frame by frame.
//
//	demo [-wire testdata/hosts.pcap] [-loop 20] [-dir capture]
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

const usage = `usage: demo [-wire FILE] [-loop N] [-dir DIR]
`

func main() { cli.Main("demo", run) }

func run(args []string) error {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	file := flags.String("wire", "testdata/hosts.pcap", "pcap `file` that is sent")
	loop := flags.Int("loop", 20, "send it `N` times")
	dir := flags.String("dir", "capture", "`folder` for the RAW files")
	if err := cli.Parse(flags, args, usage); err != nil {
		return err
	}
	if flags.NArg() > 0 || *loop < 1 {
		return cli.Usagef("want flags only, and to send the file at least once")
	}
	frames, err := load(*file)
	if err != nil {
		return err
	}
	// backpressure: the wire waits for a machine too slow for 10 Gb/s, so that the
	// demo shows content on any; the rates below tell how fast it went.
	device := fmt.Sprintf("sim:pcap=%s,rate=line,loop=%d,backpressure", wire.Quote(*file), *loop)
	before, err := rawFiles(*dir)
	if err != nil {
		return err
	}
	ledger, err := captureTo(*dir, device)
	if err != nil {
		return err
	}
	after, err := rawFiles(*dir)
	if err != nil {
		return err
	}
	// Not simply the last ones: a file of another name may sort behind them.
	files := slices.DeleteFunc(after, func(f string) bool { return slices.Contains(before, f) })
	took, err := compare(files, frames, *loop)
	if err != nil {
		return err
	}
	if err := ledger.WriteText(os.Stdout); err != nil {
		return err
	}
	sent := frames.bytes * int64(*loop)
	line := frames.lineTime() * time.Duration(*loop)
	fmt.Printf("verified: %d frames in %d files in %s are those of %s, sent %d times\n",
		len(frames.data)**loop, len(files), *dir, *file, *loop)
	fmt.Printf("rates between the first and the last stamp: %.3f Gb/s, %.3f Mpps (%v; %v at line rate)\n",
		float64(sent)*8/float64(took), float64(len(frames.data)**loop)/took.Seconds()/1e6,
		took.Round(time.Microsecond), line.Round(time.Microsecond))
	return ledger.Balanced()
}

// captureTo records what the device receives until its wire ends.
func captureTo(dir, device string) (l capture.Ledger, err error) {
	cli.Processors(1)
	cli.Collector()
	engine, _, err := nic.NewEngine(device, nic.Config{}, capture.Config{Buffer: 64 << 20})
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	c := recorder.Config{Dirs: []string{dir}, Queue: recorder.AllQueues}
	c.Store.Port = "demo"
	return recorder.Run(cli.Interrupted("demo"), engine, c)
}

// compare requires that the files hold the frames, loop times over, and says how
// long they took to arrive.
func compare(files []string, frames *frames, loop int) (time.Duration, error) {
	var first, last time.Time
	n, all := 0, len(frames.data)*loop
	for rec, err := range cli.Records(files) {
		if err != nil {
			return 0, err
		}
		if n == all {
			return 0, fmt.Errorf("more frames captured than the %d sent", all)
		}
		want := frames.data[n%len(frames.data)]
		if !bytes.Equal(want, rec.Data) || int(rec.Len) != len(want) {
			return 0, fmt.Errorf("frame %d was captured differently from how it was sent", n)
		}
		if last = rec.Time(); n == 0 {
			first = last
		}
		n++
	}
	if n != all {
		return 0, fmt.Errorf("%d frames captured of %d sent", n, all)
	}
	return last.Sub(first), nil
}
