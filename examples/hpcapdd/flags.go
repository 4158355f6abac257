package main

import (
	"errors"
	"flag"
	"time"

	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: hpcapdd -device URI [-queue N] -dir DIR|null [flags]
       hpcapdd [flags] IFACE QUEUE DIR|null
       hpcapdd [-check] -config FILE

URI names the port: 0000:03:00.0 or eth2 (kernel VFIO), vfio-user:/run/nic.sock,
or the software 82599: sim:pcap=FILE,rate=line  sim:gen,size=60  sim:packet=IFACE

A FILE of settings (ixcap.toml) is for several ports and everything that the flags
say; -check says what is wrong with it, or with the flags, and starts nothing.
SIGHUP begins new files, after taking over what has changed in the FILE.

With -share DIR other programs read each queue's frames while they are captured,
over DIR/queue0.sock, DIR/queue1.sock and so on (of a port of a FILE, DIR/NAME-queue0.sock),
and hpcapctl -socket DIR/control.sock shows and changes what goes on.
`

// options are what the command line says besides settings.
type options struct {
	config           string
	check            bool
	duration         time.Duration
	asJSON, progress bool
}

// beside are the flags that go with -config.
var beside = map[string]bool{"config": true, "check": true, "duration": true, "json": true, "progress": true}

// parse reads the command line, and the file that it names.
func parse(args []string) (o options, s *settings.Settings, err error) {
	s = settings.New()
	s.Ports = []settings.Port{settings.Defaults()}
	p := &s.Ports[0]
	noIndex := false
	flags := flag.NewFlagSet("hpcapdd", flag.ContinueOnError)
	flags.StringVar(&o.config, "config", "", "`file` of settings for one or more ports")
	flags.BoolVar(&o.check, "check", false, "say what is wrong with the settings and start nothing")
	flags.DurationVar(&o.duration, "duration", 0, "end after this `time`, such as 90s; 0 goes on")
	flags.BoolVar(&o.asJSON, "json", false, "print the ledger as JSON; with -config, an object with one for each port")
	flags.BoolVar(&o.progress, "progress", false, "print a line a second even if standard error is no terminal")

	flags.StringVar(&p.Device, "device", "", "`URI` of the port")
	flags.IntVar(&p.Queues, "queues", p.Queues, "`number` of receive queues that the port spreads frames over")
	flags.Var(&p.Cores, "cores", "`list` of cores for the queues' polling threads, such as 2,3; by default the last ones of the port's node, where there are enough")
	flags.IntVar(&p.Speed, "speed", 0, "`Mb/s` of the link, 1000 or 10000; by default what the module can")
	flags.IntVar(&p.CapLen, "caplen", 0, "keep at most `N` bytes of a frame; 0 keeps all")
	flags.Var(&p.Buffer, "buffer", "`size` of each queue's buffer, a power of two")
	flags.Var(&p.Pages, "pages", "`kind` of memory pages: 2MiB, 1GiB or ordinary; by default what suits the port")
	flags.IntVar(&p.FIFO, "fifo", 0, "`priority` 1 to 99 of the polling threads under SCHED_FIFO: nothing below it takes their cores; 0 leaves it off")
	flags.BoolVar(&p.Sleep, "sleep", false, "sleep until the port interrupts while nothing arrives, instead of polling without a break: for machines without a core to spare")
	flags.TextVar(&p.Stamps, "stamps", clock.PerPacket, "`how` frames are stamped: packet, batch, uniform, weighted, adaptive or sample=N")
	flags.Var(&p.Filter, "filter", "keep what these `rules`, or those in @FILE, say, such as '(udp and port 53) all; (vlan 12) drop; 128'; hpcapctl filter changes them")
	flags.Var(&p.Dedup, "dedup", "leave out copies of frames, as a mirroring switch makes them; `settings` are optional: -dedup=window=200ms,records=32768,pools=4,bytes=96")

	st := &p.Storage
	flags.Var(&st.Dirs, "dir", "`folder` for the files, or null to store nothing; given several times, files go to the folders in turn")
	flags.Var(&st.Queue, "queue", "store only queue `N`; all by default, each to its own files")
	flags.Var(&st.Format, "format", "`format` of the files: raw, pcap or pcapng, the last two packet by packet (hpcapdd_p)")
	flags.IntVar(&st.Zstd, "zstd", 0, "compress pcap and pcapng files at this `level`, 1 (fast) to 22 (small); 0 does not")
	flags.StringVar(&st.StoreFilter, "store-filter", "", "store only packets that match this pcap-filter `expression` in pcap and pcapng files")
	flags.Var(&st.Segment, "segment", "`size` of a file")
	flags.Var(&st.Rotate, "rotate", "begin a file at multiples of this `time` since midnight UTC, too; 0s does not")
	flags.Var(&st.Block, "block", "`size` of what is written at once: 1MiB, 2MiB or 4MiB")
	flags.IntVar(&st.InFlight, "in-flight", st.InFlight, "`number` of blocks written at the same time to each folder")
	flags.Var(&st.Flush, "flush", "`time` after which what waits is written though its block is not full")
	flags.TextVar(&st.Fsync, "fsync", store.SyncAtClose, "`when` what is written is made to last: close, none, or a time such as 10s")
	flags.BoolVar(&noIndex, "no-index", false, "write no sidecars, by which hpcapq finds packets without reading all of a file")

	flags.Var(&s.Retention.Size, "keep-size", "delete the oldest files when all together have more than this `size`")
	flags.Var(&s.Retention.Age, "keep-age", "delete files that are older than this `time`, such as 14d")
	flags.Var(&s.Retention.Free, "keep-free", "delete the oldest files when a disk has less than this `size` free")
	flags.StringVar(&s.Share.Dir, "share", "", "share the frames with other programs over sockets in this `folder`")
	flags.Var(&s.Share.Mode, "share-mode", "`mode` of the queues' sockets: who may attach; only you may control the capture")
	linger := flags.Duration("linger", s.Share.Linger.Duration(), "`time` for which the end waits for listeners that have frames left and read none; those that go on reading get all")
	flags.StringVar(&s.Metrics.Listen, "metrics", "", "serve metrics for Prometheus at this `HOST:PORT`, path /metrics")
	flags.StringVar(&s.Hpcapmon.Dir, "hpcapmon", "", "write HPCAP's monitoring files, a line a second, to this `folder`")
	if err := cli.Parse(flags, args, usage); err != nil {
		return o, nil, err
	}
	if o.duration < 0 {
		return o, nil, cli.Usagef("duration %v: want a time to come, or 0 to go on", o.duration)
	}
	if o.config != "" {
		return fromFile(o, flags)
	}
	if *linger < 0 {
		return o, nil, cli.Usagef("linger for %v: want a time, or 0 not to wait", *linger)
	}
	s.Share.Linger = units.Duration(*linger)
	st.Index = !noIndex
	if p.Device == "" && flags.NArg() == 3 { // HPCAP's form
		p.Device, st.Dirs = flags.Arg(0), settings.Dirs{flags.Arg(2)}
		if err := st.Queue.Set(flags.Arg(1)); err != nil {
			return o, nil, cli.UsageError{Err: err}
		}
	} else if flags.NArg() > 0 {
		return o, nil, cli.Usagef("unexpected argument %q", flags.Arg(0))
	}
	modeSet := false
	flags.Visit(func(f *flag.Flag) { modeSet = modeSet || f.Name == "share-mode" })
	switch {
	case p.Device == "":
		return o, nil, cli.Usagef("no port: name it with -device")
	case len(st.Dirs) == 0 || st.Dirs[0] == "":
		return o, nil, cli.Usagef("no folder: name one with -dir, or null to store nothing")
	case modeSet && s.Share.Dir == "":
		return o, nil, cli.Usagef("-share-mode goes with -share")
	}
	var errs []error
	for _, p := range s.Check() {
		errs = append(errs, cli.UsageError{Err: p})
	}
	return o, s, errors.Join(errs...)
}

// fromFile reads the file of settings. What it says no flag can say, too: a reload
// would not know which of them is meant.
func fromFile(o options, flags *flag.FlagSet) (options, *settings.Settings, error) {
	var both string
	flags.Visit(func(f *flag.Flag) {
		if !beside[f.Name] {
			both = f.Name
		}
	})
	if both != "" {
		return o, nil, cli.Usagef("-%s goes without -config: write it into %s", both, o.config)
	}
	if flags.NArg() > 0 {
		return o, nil, cli.Usagef("unexpected argument %q", flags.Arg(0))
	}
	s, err := settings.Load(o.config)
	return o, s, err
}
