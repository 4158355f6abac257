// Hpcapdd captures what a port receives to RAW files, until the wire ends, the
// time is up, or SIGINT or SIGTERM; then it prints where every frame went.
//
//	hpcapdd -device URI [-queue N] -dir DIR|null [-segment 2GiB] [-buffer 256MiB] [-caplen N] [-duration D] [-sleep] [-json]
//	hpcapdd IFACE QUEUE DIR|null
//
// A file is named after its first frame's time, port and queue, so that names
// sort as the files were captured, and ends in .raw.part while it is written.
// Each has exactly the size of a segment but the last of each queue, which ends
// after its last frame with a padding record of length 0.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
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

const usage = `usage: hpcapdd -device URI [-queue N] -dir DIR|null [flags]
       hpcapdd IFACE QUEUE DIR|null

URI names the port: 0000:03:00.0 or eth2 (kernel VFIO), vfio-user:/run/nic.sock,
or the software 82599: sim:pcap=FILE,rate=line  sim:gen,size=60  sim:packet=IFACE
`

// options are what the command line says.
type options struct {
	device, dir           string
	queue, queues, caplen int
	segment, buffer       cli.Size
	pages                 cli.Pages
	cores                 cli.Cores
	duration              time.Duration
	asJSON, progress      bool
	sleep                 bool
}

func main() { cli.Main("hpcapdd", run) }

func run(args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	cli.Processors(o.queues)
	pc := nic.Config{Queues: o.queues, Pages: o.pages.Size, Notify: new(notices).tell}
	if o.sleep {
		pc.Interrupts = driver.QueueInterrupts
	}
	port, err := nic.Open(o.device, pc)
	if err != nil {
		return err
	}
	engine, err := capture.New(port, capture.Config{
		Buffer: int(o.buffer), Segment: int64(o.segment), CapLen: o.caplen, Pages: o.pages.Size, Cores: o.cores,
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
	c := record.Config{
		Dir: o.dir, Queue: o.queue, Segment: int64(o.segment), Store: store.Config{Port: port.Name()},
		Warn: func(text string) { fmt.Fprintln(os.Stderr, "hpcapdd: warning:", text) },
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

func parse(args []string) (o options, err error) {
	o.segment, o.buffer = 2<<30, 256<<20
	flags := flag.NewFlagSet("hpcapdd", flag.ContinueOnError)
	flags.StringVar(&o.device, "device", "", "`URI` of the port")
	flags.IntVar(&o.queue, "queue", record.AllQueues, "store only queue `N`; all by default, each to its own files")
	flags.IntVar(&o.queues, "queues", 1, "`number` of receive queues that the port spreads frames over")
	flags.StringVar(&o.dir, "dir", "", "`folder` for the files, or null to store nothing")
	flags.Var(&o.segment, "segment", "`size` of a file")
	flags.Var(&o.buffer, "buffer", "`size` of each queue's buffer, a power of two")
	flags.IntVar(&o.caplen, "caplen", 0, "keep at most `N` bytes of a frame; 0 keeps all")
	flags.DurationVar(&o.duration, "duration", 0, "end after this `time`, such as 90s; 0 goes on")
	flags.Var(&o.pages, "pages", "`kind` of memory pages: 2MiB, 1GiB or ordinary; by default what suits the port")
	flags.Var(&o.cores, "cores", "`list` of cores for the queues' polling threads, such as 2,3; by default the last ones of the port's node, where there are enough")
	flags.BoolVar(&o.sleep, "sleep", false, "sleep until the port interrupts while nothing arrives, instead of polling without a break: for machines without a core to spare")
	flags.BoolVar(&o.asJSON, "json", false, "print the ledger as JSON")
	flags.BoolVar(&o.progress, "progress", false, "print a line a second even if standard error is no terminal")
	if err := cli.Parse(flags, args, usage); err != nil {
		return o, err
	}
	if o.device == "" && flags.NArg() == 3 { // HPCAP's form
		o.device, o.dir = flags.Arg(0), flags.Arg(2)
		if o.queue, err = strconv.Atoi(flags.Arg(1)); err != nil || o.queue < 0 {
			return o, cli.Usagef("queue %q: want a number from 0", flags.Arg(1))
		}
	} else if flags.NArg() > 0 {
		return o, cli.Usagef("unexpected argument %q", flags.Arg(0))
	}
	switch {
	case o.device == "":
		return o, cli.Usagef("no port: name it with -device")
	case o.dir == "":
		return o, cli.Usagef("no folder: name one with -dir, or null to store nothing")
	case o.queues < 1:
		return o, cli.Usagef("%d queues: want at least 1", o.queues)
	case o.duration < 0:
		return o, cli.Usagef("duration %v: want a time to come, or 0 to go on", o.duration)
	case o.queue != record.AllQueues && (o.queue < 0 || o.queue >= o.queues):
		return o, cli.Usagef("queue %d: the port runs with %d, numbered from 0; -queues sets how many", o.queue, o.queues)
	case o.buffer < record.MinBuffer:
		return o, cli.Usagef("buffer of %v: storing needs at least %v", o.buffer, cli.Size(record.MinBuffer))
	}
	return o, nil
}
