// Hpcapdd captures what a port receives to RAW files, until the wire ends, the
// time is up, or SIGINT or SIGTERM; then it prints where every frame went.
//
//	hpcapdd -device URI [-queue N] -dir DIR|null [-share DIR] [-filter RULES] [-duration D] [-json] [flags]
//	hpcapdd [flags] IFACE QUEUE DIR|null
//
// A file is named after its first frame's time, port and queue, so that names
// sort as the files were captured, and ends in .raw.part while it is written.
// Each has exactly the size of a segment but the last of each queue, which ends
// after its last frame with a padding record of length 0.
//
// With -share other programs read the frames meanwhile (stream.Attach, or
// examples/creader), and hpcapctl shows and changes the capture. At the end they
// get what is left, as long as they go on reading.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/record"
	"github.com/ixcap/ixcap/capture/store"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/pci/vfio"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	_ "github.com/ixcap/ixcap/sim"
)

func main() { cli.Main("hpcapdd", run) }

func run(args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	cli.Processors(o.queues)
	cli.Collector()
	warn := func(text string) { fmt.Fprintln(os.Stderr, "hpcapdd: warning:", text) }
	pc := nic.Config{Queues: o.queues, Pages: o.pages.Size, Notify: new(notices).tell}
	if o.sleep {
		pc.Interrupts = driver.QueueInterrupts
	}
	port, err := nic.Open(o.device, pc)
	if err != nil {
		return err
	}
	engine, err := capture.New(port, capture.Config{
		Buffer: int(o.buffer), Segment: int64(o.segment), CapLen: o.caplen, Pages: o.pages.Size, Cores: o.cores, FIFO: o.fifo,
		Stamps: o.stamps, Filter: o.filter.Rules, Dedup: o.dedup.Config, Warn: warn,
	})
	if err != nil {
		return errors.Join(err, port.Close())
	}
	defer func() { err = errors.Join(err, engine.Close()) }()

	ctx := cli.Interrupted("hpcapdd")
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	if o.share != "" {
		s, err := share(engine, o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
	}
	c := record.Config{
		Dirs: []string{o.dir}, Queue: o.queue, Segment: int64(o.segment), Store: store.Config{Port: port.Name()},
		Linger: o.linger, Warn: warn,
	}
	bar := cli.Bar{W: os.Stderr, Terminal: cli.IsTerminal(os.Stderr)}
	if bar.Terminal || o.progress {
		c.Progress = func(before, now capture.Rates) { bar.Print(now.Since(before)) }
	}
	ledger, err := record.Run(ctx, engine, c)
	bar.End()
	if len(ledger.Queues) == 0 {
		return err // nothing was captured
	}
	if err == nil {
		err = ledger.Balanced()
	}
	if err == nil {
		cli.WarnLate(os.Stderr, port, time.Duration(ledger.Seconds*float64(time.Second)))
	}
	return errors.Join(err, print(os.Stdout, ledger, o.asJSON))
}

func print(w io.Writer, l capture.Ledger, asJSON bool) error {
	if asJSON {
		return l.WriteJSON(w)
	}
	return l.WriteText(w)
}
