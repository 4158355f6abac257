package main

import (
	"flag"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/filter"
	"github.com/ixcap/ixcap/capture/record"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: hpcapdd -device URI [-queue N] -dir DIR|null [flags]
       hpcapdd [flags] IFACE QUEUE DIR|null

URI names the port: 0000:03:00.0 or eth2 (kernel VFIO), vfio-user:/run/nic.sock,
or the software 82599: sim:pcap=FILE,rate=line  sim:gen,size=60  sim:packet=IFACE

With -share DIR other programs read each queue's frames while they are captured,
over DIR/queue0.sock, DIR/queue1.sock and so on, and hpcapctl -socket
DIR/control.sock shows and changes what goes on.
`

// options are what the command line says.
type options struct {
	device, dir           string
	queue, queues, caplen int
	segment, buffer       cli.Size
	pages                 cli.Pages
	cores                 cli.Cores
	fifo                  int
	duration, linger      time.Duration
	asJSON, progress      bool
	sleep                 bool
	stamps                clock.Policy
	dedup                 copies
	filter                rules
	share                 string
	shareMode             mode
}

func parse(args []string) (o options, err error) {
	o.segment, o.buffer, o.shareMode = 2<<30, 256<<20, 0o600
	flags := flag.NewFlagSet("hpcapdd", flag.ContinueOnError)
	flags.StringVar(&o.device, "device", "", "`URI` of the port")
	flags.IntVar(&o.queue, "queue", record.AllQueues, "store only queue `N`; all by default, each to its own files")
	flags.IntVar(&o.queues, "queues", 1, "`number` of receive queues that the port spreads frames over")
	flags.StringVar(&o.dir, "dir", "", "`folder` for the files, or null to store nothing")
	flags.Var(&o.segment, "segment", "`size` of a file")
	flags.Var(&o.buffer, "buffer", "`size` of each queue's buffer, a power of two")
	flags.IntVar(&o.caplen, "caplen", 0, "keep at most `N` bytes of a frame; 0 keeps all")
	flags.Var(&o.filter, "filter", "keep what these `rules`, or those in @FILE, say, such as '(udp and port 53) all; (vlan 12) drop; 128'; hpcapctl filter changes them")
	flags.Var(&o.dedup, "dedup", "leave out copies of frames, as a mirroring switch makes them; `settings` are optional: -dedup=window=200ms,records=32768,pools=4,bytes=96")
	flags.TextVar(&o.stamps, "stamps", clock.PerPacket, "`how` frames are stamped: packet, batch, uniform, weighted, adaptive or sample=N")
	flags.DurationVar(&o.duration, "duration", 0, "end after this `time`, such as 90s; 0 goes on")
	flags.Var(&o.pages, "pages", "`kind` of memory pages: 2MiB, 1GiB or ordinary; by default what suits the port")
	flags.Var(&o.cores, "cores", "`list` of cores for the queues' polling threads, such as 2,3; by default the last ones of the port's node, where there are enough")
	flags.IntVar(&o.fifo, "fifo", 0, "`priority` 1 to 99 of the polling threads under SCHED_FIFO: nothing below it takes their cores; 0 leaves it off")
	flags.BoolVar(&o.sleep, "sleep", false, "sleep until the port interrupts while nothing arrives, instead of polling without a break: for machines without a core to spare")
	flags.StringVar(&o.share, "share", "", "share the frames with other programs over sockets in this `folder`")
	flags.Var(&o.shareMode, "share-mode", "`mode` of the queues' sockets: who may attach; only you may control the capture")
	flags.DurationVar(&o.linger, "linger", 5*time.Second, "`time` for which the end waits for listeners that have frames left and read none; those that go on reading get all")
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
	modeSet := false
	flags.Visit(func(f *flag.Flag) { modeSet = modeSet || f.Name == "share-mode" })
	switch {
	case o.device == "":
		return o, cli.Usagef("no port: name it with -device")
	case o.dir == "":
		return o, cli.Usagef("no folder: name one with -dir, or null to store nothing")
	case o.queues < 1:
		return o, cli.Usagef("%d queues: want at least 1", o.queues)
	case o.duration < 0:
		return o, cli.Usagef("duration %v: want a time to come, or 0 to go on", o.duration)
	case o.linger < 0:
		return o, cli.Usagef("linger for %v: want a time, or 0 not to wait", o.linger)
	case o.queue != record.AllQueues && (o.queue < 0 || o.queue >= o.queues):
		return o, cli.Usagef("queue %d: the port runs with %d, numbered from 0; -queues sets how many", o.queue, o.queues)
	case o.buffer < record.MinBuffer:
		return o, cli.Usagef("buffer of %v: storing needs at least %v", o.buffer, cli.Size(record.MinBuffer))
	case modeSet && o.share == "":
		return o, cli.Usagef("-share-mode goes with -share")
	}
	return o, nil
}

// mode is a socket's mode, as a flag.
type mode fs.FileMode

func (m *mode) String() string { return fmt.Sprintf("%04o", uint32(*m)) }

// Set implements flag.Value.
func (m *mode) Set(text string) error {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return fmt.Errorf("want a mode in octal digits, such as 0660")
	}
	*m = mode(n)
	return nil
}

// rules are what is kept of which frames, as a flag.
type rules struct{ *filter.Rules }

func (r *rules) String() string {
	if r == nil || r.Rules == nil {
		return ""
	}
	return r.Rules.String()
}

// Set implements flag.Value.
func (r *rules) Set(arg string) error {
	text, err := cli.Text(arg)
	if err == nil {
		r.Rules, err = filter.Parse(text)
	}
	return err
}

// copies are the settings of duplicate removal, as a flag that needs no value.
type copies struct{ *dedup.Config }

// IsBoolFlag lets the value be left out.
func (c *copies) IsBoolFlag() bool { return true }

func (c *copies) String() string {
	if c == nil || c.Config == nil {
		return ""
	}
	return fmt.Sprintf("window=%v,records=%d,pools=%d,bytes=%d,index=%v", c.Window, c.Records, c.Pools, c.Bytes, c.Index)
}

// Set implements flag.Value.
func (c *copies) Set(text string) (err error) {
	var d dedup.Config
	switch text {
	case "true":
		c.Config = &d
		return nil
	case "false":
		c.Config = nil
		return nil
	}
	for setting := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "window":
			d.Window, err = time.ParseDuration(value)
		case "records":
			d.Records, err = strconv.Atoi(value)
		case "pools":
			d.Pools, err = strconv.Atoi(value)
		case "bytes":
			d.Bytes, err = strconv.Atoi(value)
		case "index":
			d.Index, err = dedup.ParseIndex(value)
		default:
			return fmt.Errorf("setting %q: choose window=TIME, records=N, pools=N, bytes=N or index=content|rss", setting)
		}
		if err != nil {
			return fmt.Errorf("setting %q: %w", setting, err)
		}
	}
	c.Config = &d
	return d.Check()
}
