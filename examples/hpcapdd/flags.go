package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// options are the command line without what belongs to settings.
type options struct {
	config         string
	check          bool
	duration       units.Duration
	count          uint64
	json, progress bool
	verbose        bool
	failOnLoss     bool
	devices        []string
	filter         string // expression of --filter
	noIndex        bool
	output         string // of -w: a pipe, in place of directories; empty: none
	outputFormat   pcapfile.Format
}

// withConfig are the flags that go with --config.
var withConfig = []string{"config", "check", "duration", "count", "json", "progress", "verbose", "fail-on-loss", "help", "version", "man"}

// command is the command line; run is called with what it says.
func command(run func(options, *settings.Settings) error) *cobra.Command {
	var o options
	s := settings.New()
	p := settings.Defaults()
	cmd := &cobra.Command{
		Use:   "hpcapdd [flags] -i PORT -w DIR|null\n  hpcapdd [flags] --config FILE\n  hpcapdd [flags] PORT QUEUE DIR|null",
		Short: "Capture ports to files without losing a frame",
		Long: `Capture ports to files, until the wire ends, the time is up, or SIGINT or SIGTERM; then
print what became of every frame.

PORT is the PCI address of an 82599 bound to vfio-pci (0000:03:00.0); any interface
through the kernel, xdp:eth0 or packet:eth0; an interface alone (eth0), which is its
82599 if that is bound to vfio-pci, else xdp, else packet; vfio-user:SOCKET; or the
software 82599: sim:pcap=FILE,rate=line, sim:gen,size=60. See docs/PORTS.md and docs/MODEL.md.

A file is named after its first frame's time, port and queue, so that names sort by
time; it ends in .part while it is written. RAW files have exactly the size of a segment
unless a new one was begun early: by --rotate, SIGHUP, hpcapctl rotate, or at the end.

With -w - packets are written to standard output as they arrive, in the order of their
stamps, for a program behind a pipe; -w FIFO writes to a FIFO. A reader that is slow holds
the capture back, as a slow disk does; one that ends, ends the capture. The ledger goes to
standard error if packets go to standard output.

With --share DIR other programs read each queue's frames over DIR/queue0.sock,
DIR/queue1.sock and so on (DIR/NAME-queue0.sock where several ports are captured), and
hpcapctl --socket DIR/control.sock shows and changes the capture.

SIGHUP begins new files; with --config it applies what has changed in FILE first.
The exit status is 0, 1 after a failure, 2 for a wrong command line, and with
--fail-on-loss 3 if frames were lost.`,
		Annotations: map[string]string{cli.ExitStatus: `0 after a complete capture, 1 after a failure, 2 for a wrong command line,
3 if frames were lost and --fail-on-loss was given. Also 1 if the ledger could not be
printed: standard output was not read for 5 seconds. A SIGINT or SIGTERM more than a second
after the first one ends the program at once, with 128 plus the number of the signal.`},
		Example: `  hpcapdd -i eth2 -w /data0 -w /data1 --rotate 1h --keep-age 14d
  hpcapdd -i eth2 -i eth3 -w /data0 --queues 4 --share /run/ixcap
  hpcapdd -i eth2 -w /data0 --rules '(udp and port 53) all; (tcp or sctp) 96; drop'
  hpcapdd -i eth2 -w /data0 -F pcapng --zstd 1 -f 'not port 22'
  hpcapdd -i eth2 -w null --share /run/ixcap --zero-copy
  hpcapdd -i eth2 -w - | tcpdump -n -r -
  hpcapdd -i sim:gen,size=60,rate=1Mpps -w null --duration 10s`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if o.config != "" {
				loaded, err := fromFile(cmd, o.config, args)
				if err != nil {
					return err
				}
				return run(o, loaded)
			}
			if err := complete(cmd, &o, s, &p, args); err != nil {
				return err
			}
			return run(o, s)
		},
	}
	cli.Group(cmd, "Port", func(flags *pflag.FlagSet) { portFlags(flags, &o, &p) })
	cli.Group(cmd, "Frames", func(flags *pflag.FlagSet) { frameFlags(flags, &o, &p) })
	cli.Group(cmd, "Files", func(flags *pflag.FlagSet) { fileFlags(flags, &o, &p.Storage, &s.Retention) })
	cli.Group(cmd, "Other programs", func(flags *pflag.FlagSet) { shareFlags(flags, s) })
	cli.Group(cmd, "Run", func(flags *pflag.FlagSet) { runFlags(flags, &o) })
	return cmd
}

func portFlags(flags *pflag.FlagSet, o *options, p *settings.Port) {
	flags.StringArrayVarP(&o.devices, "interface", "i", nil, "capture this `port`; may be repeated, the other flags are for each port")
	flags.IntVar(&p.Queues, "queues", p.Queues, "`number` of receive queues; 0: 1 of an 82599, all of an xdp port, one socket of a packet port")
	flags.Var(&p.Cores, "cores", "`list` of cores for the polling threads, such as 2,3; default: cores of the port's NUMA node")
	flags.IntVar(&p.FIFO, "fifo", 0, "SCHED_FIFO `priority` of the polling threads, 1 to 99; 0: the ordinary policy")
	flags.BoolVar(&p.Sleep, "sleep", false, "sleep until the queue interrupts while no frames arrive, instead of polling")
	flags.IntVar(&p.Speed, "speed", 0, "link speed in `Mb/s`, 1000 or 10000; default: the module's")
	flags.BoolVar(&p.Negotiate, "negotiate", false, "negotiate with the other end at 1000 Mb/s, as most switches expect; not behind a tap")
	flags.BoolVar(&p.AnyModule, "any-module", false, "accept an SFP+ module that is not known to work")
	flags.Var(&p.VFs, "vfs", "offer virtual `functions` of an 82599: their number, or what each is granted, such as default, mac=02:00:00:00:01:01 trust=on, vlan=7 spoofchk=off")
	flags.Var(&p.Mirrors, "mirror", "copy frames to a virtual function, or to the port: `rules` such as to=2 functions=0+1 downlink, to=port vlans=7 or uplink")
	flags.VarP(&p.Buffer, "buffer", "B", "`size` of each queue's buffer, a power of two")
	flags.BoolVar(&p.ZeroCopy, "zero-copy", false, "leave frames where an 82599 has put them, in ring-buffer pools, instead of copying them to the buffer; a port that has no pools copies and says why")
	flags.IntVar(&p.Chunks, "chunks", 0, "`number` of chunks of each pool (R), from 2; 0: as many as --buffer and the receive ring have memory for")
	flags.IntVar(&p.ChunkSize, "chunk-size", 0, "packet `buffers` of a chunk (M), a multiple of 8 from 8 to 2048; 0: 256")
	flags.Var(&p.Pages, "pages", "memory `pages`: 2MiB, 1GiB or ordinary; default: the largest the port needs")
}

func frameFlags(flags *pflag.FlagSet, o *options, p *settings.Port) {
	flags.IntVar(&p.OuterVLAN, "outer-vlan", 0, "`EtherType` of the outer VLAN tag that all frames have, such as 0x88a8: they are spread over the queues by what is behind both tags; 0: none")
	flags.BoolVar(&p.CRC, "crc", false, "keep the CRC of 4 bytes at the end of frames")
	flags.BoolVar(&p.BadFrames, "bad-frames", false, "receive bad frames, too: wrong CRC, runts, bad symbols; with the CRC")
	flags.IntVarP(&p.SnapLen, "snaplen", "s", 0, "keep at most this many `bytes` of a frame; 0: all")
	flags.StringVarP(&o.filter, "filter", "f", cli.None, "keep only frames that match this pcap-filter `expression`")
	flags.Var(&p.Rules, "rules", "keep of each frame what the first matching `rule` says, or the rules in @FILE; hpcapctl rules changes them")
	flags.Var(&p.RSS, "rss", "`fields` that select the queue of an 82599: ports; tcp-ports, which keeps fragments of UDP with their flow; or addresses")
	flags.Var(&p.Filters, "port-filters", "drop frames in an 82599, or send them to a queue, before they reach memory: `filters` such as (udp and port 53) drop; (host 192.0.2.1) queue 2, or those in @FILE")
	flags.Var(&p.Dedup, "dedup", "drop duplicates, such as mirror ports make; `settings`: window=200ms,records=32768,pools=8,ignore=vlan+ttl+checksum+mac")
	flags.Lookup("dedup").NoOptDefVal = "true"
	flags.BoolVar(&p.HardwareClock, "hardware-clock", false, "compare the timestamps of PTP messages with those of an 82599's clock; the ledger has the differences")
	flags.TextVar(&p.Stamps, "stamps", clock.PerPacket, "timestamp `policy`: packet, batch, uniform, weighted, adaptive or sample=N")
}

func fileFlags(flags *pflag.FlagSet, o *options, st *settings.Storage, keep *settings.Retention) {
	flags.VarP(&st.Dirs, "write", "w", "write files to this `directory`; may be repeated: files go to the directories in turn; null: store nothing; - or a FIFO: write packets as they arrive")
	flags.VarP(&st.Format, "format", "F", "`format` of the files: raw, or packet by packet pcap or pcapng; of -w -: pcap (the default) or pcapng")
	flags.IntVar(&st.Zstd, "zstd", 0, "compress pcap and pcapng files at this `level`, 1 (fast) to 22 (small); 0: off")
	flags.StringVar(&st.StoreFilter, "store-filter", "", "write only packets that match this `expression` to pcap and pcapng files; none: all")
	flags.Var(&st.Queue, "queue", "store only this `queue`; all: every queue, each to its own files")
	flags.VarP(&st.Segment, "segment", "C", "begin a new file after this `size`")
	flags.VarP(&st.Rotate, "rotate", "G", "begin a new file at multiples of this `time` since midnight UTC; 0: off")
	flags.Var(&st.Block, "block", "write blocks of this `size`: 1MiB, 2MiB or 4MiB; 0: 4MiB with --sleep, else 1MiB")
	flags.IntVar(&st.InFlight, "in-flight", st.InFlight, "`number` of blocks in flight to each directory")
	flags.Var(&st.Flush, "flush", "write an incomplete block after this `time`")
	flags.TextVar(&st.Fsync, "fsync", store.SyncAtClose, "sync files `when`: close, none, or a time such as 10s")
	flags.StringVarP(&st.Command, "command", "z", "", "run this `program` with the path of each finished file, one at a time")
	flags.BoolVar(&o.noIndex, "no-index", false, "write no index files for hpcapq")
	flags.Var(&keep.Size, "keep-size", "delete the oldest files when all files exceed this `size`; 0: keep them")
	flags.Var(&keep.Age, "keep-age", "delete files older than this `time`, such as 14d; 0: keep them")
	flags.IntVarP(&keep.Files, "keep-files", "W", 0, "delete the oldest files when there are more than this `number`; 0: keep them")
	flags.Var(&keep.Free, "keep-free", "delete the oldest files when a file system has less than this `size` free; 0: keep them")
}

func shareFlags(flags *pflag.FlagSet, s *settings.Settings) {
	flags.StringVar(&s.Share.Dir, "share", "", "serve frames and control over sockets in this `directory`")
	flags.Var(&s.Share.Mode, "share-mode", "file `mode` of the queues' sockets; the control socket is always the owner's")
	flags.Var(&s.Share.Linger, "linger", "at the end, wait this `time` for listeners, and for a reader of -w -, that have frames left and do not read")
	flags.IntVar(&s.Share.WaitListeners, "wait-listeners", 0, "start a port once each of its queues has this `number` of listeners of other programs")
	flags.StringVar(&s.Metrics.Listen, "metrics", "", "serve Prometheus metrics at http://`HOST:PORT`/metrics")
	flags.StringVar(&s.Hpcapmon.Dir, "hpcapmon", "", "write HPCAP's monitoring files, a line a second, to this `directory`")
}

func runFlags(flags *pflag.FlagSet, o *options) {
	flags.StringVar(&o.config, "config", "", "read all settings from this `file` (examples/systemd/ixcap.toml)")
	flags.BoolVar(&o.check, "check", false, "open what the settings need and close it again, capture nothing")
	flags.Var(&o.duration, "duration", "end this `time` after the start of all ports, such as 90s; 0: no limit")
	flags.Uint64VarP(&o.count, "count", "c", 0, "end after `N` frames stored of each port; 0: no limit")
	flags.BoolVar(&o.json, "json", false, "print the ledger as JSON (docs/JSON.md); of several ports an object by name")
	flags.BoolVar(&o.failOnLoss, "fail-on-loss", false, "exit with status 3 if frames were lost")
	flags.BoolVar(&o.progress, "progress", false, "print a line a second even if standard error is not a terminal")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "log details, too")
}

// complete makes settings of the command line.
func complete(cmd *cobra.Command, o *options, s *settings.Settings, p *settings.Port, args []string) error {
	st := &p.Storage
	st.Index = !o.noIndex
	if len(o.devices) == 0 && len(args) == 3 { // HPCAP's form
		o.devices, st.Dirs = args[:1], settings.Dirs{args[2]}
		if err := st.Queue.Set(args[1]); err != nil {
			return cli.Usagef("queue %w", err)
		}
		args = nil
	}
	switch {
	case len(args) > 0:
		return cli.UsageError{Err: cli.Unexpected(cmd, args[0])}
	case len(o.devices) == 0:
		return cli.Usagef("no port: name it with -i")
	case slices.ContainsFunc(o.devices, cli.Blank):
		return cli.Usagef("-i \"\": the name is empty")
	case len(st.Dirs) == 0:
		return cli.Usagef("no directory: name it with -w, or -w null to store nothing")
	case slices.ContainsFunc(st.Dirs, cli.Blank):
		return cli.Usagef("-w \"\": the name is empty. -w null stores nothing")
	case cmd.Flags().Changed("share-mode") && s.Share.Dir == "":
		return cli.Usagef("--share-mode: goes with --share")
	case s.Share.WaitListeners != 0 && s.Share.Dir == "":
		return cli.Usagef("--wait-listeners: goes with --share")
	case o.filter != cli.None && p.Rules.Rules != nil:
		return cli.Usagef("--filter and --rules: give one of them")
	}
	if st.StoreFilter == cli.None {
		st.StoreFilter = ""
	}
	if o.filter != cli.None {
		keep, err := rules.Keep(o.filter)
		if err != nil {
			return cli.Usagef("--filter: %w", err)
		}
		p.Rules.Rules = keep
	}
	for _, d := range o.devices {
		if err := cli.CheckSim(d); err != nil {
			return cli.Usagef("--interface %s: %w", d, err)
		}
	}
	if err := takeOutput(cmd, o, st); err != nil {
		return err
	}
	for _, dir := range st.Dirs {
		if err := checkDir(dir); err != nil {
			return err
		}
	}
	if st.Command != "" {
		if _, err := exec.LookPath(st.Command); err != nil {
			return cli.Usagef("--command: %w: name one program, without arguments", err)
		}
	}
	s.Ports = ports(*p, o.devices)
	if s.Retention.Any() && !s.Ports[0].Stores() {
		return cli.Usagef("--%s: -w null stores no files. Give one of them", changed(cmd, "keep-"))
	}
	var errs []error
	for _, problem := range s.Check() {
		errs = append(errs, cli.Usagef("%s: %s", flagOf(setting(problem, s.Ports)), problem.Text))
	}
	return errors.Join(errs...)
}

// filesOnly are the flags that an output which is one pipe has no use for.
var filesOnly = []string{
	"zstd", "store-filter", "segment", "rotate", "block", "in-flight", "flush", "fsync", "command", "no-index", "keep-size", "keep-age", "keep-files", "keep-free",
}

// takeOutput moves the name of a pipe from the directories to o.output.
func takeOutput(cmd *cobra.Command, o *options, st *settings.Storage) error {
	at := slices.IndexFunc(st.Dirs, cli.IsStream)
	if at < 0 {
		return nil
	}
	name := st.Dirs[at]
	if len(st.Dirs) > 1 {
		return cli.Usagef("-w %s: packets go there alone. For files, too: hpcapdd -w DIR --share SHARE, and hpcapq --share SHARE --follow -w -", name)
	}
	for _, flag := range filesOnly {
		if cmd.Flags().Changed(flag) {
			return cli.Usagef("--%s: is for files, and -w %s writes none. Omit it", flag, name)
		}
	}
	o.output, o.outputFormat = name, pcapfile.Pcap
	if cmd.Flags().Changed("format") {
		if st.Format == settings.Raw {
			return cli.Usagef("--format raw: is for files. Choose pcap or pcapng for -w %s", name)
		}
		o.outputFormat = pcapfile.Format(st.Format)
	}
	st.Dirs, st.Format = settings.Dirs{recorder.Null}, settings.Raw
	return nil
}

// checkDir returns a usage error for the name of a file: -w creates a directory.
func checkDir(dir string) error {
	file := slices.Contains([]string{".pcap", ".pcapng", ".raw", ".zst"}, filepath.Ext(dir))
	if info, err := os.Stat(dir); !file || err == nil && info.IsDir() {
		return nil
	}
	return cli.Usagef("-w %s: -w writes a directory of files. For one pcap file: hpcapdd -w - > %s", dir, dir)
}

// changed returns the first flag of the command line whose name has this prefix.
func changed(cmd *cobra.Command, prefix string) (name string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if name == "" && strings.HasPrefix(f.Name, prefix) {
			name = f.Name
		}
	})
	return name
}

// setting is the setting of a problem. The names of ports may have dots.
func setting(problem settings.Problem, ports []settings.Port) string {
	text := problem.Setting()
	for i := range ports {
		if own, ok := strings.CutPrefix(problem.Key, "port."+ports[i].Name+"."); ok && len(own) < len(text) {
			text = own
		}
	}
	return text
}

// flagOf is the flag of a setting.
func flagOf(setting string) string {
	setting = strings.TrimPrefix(setting, "storage.")
	switch setting {
	case "device":
		setting = "interface"
	case "dirs":
		setting = "write"
	case "share.dir":
		setting = "share"
	case "share.wait_listeners":
		setting = "wait-listeners"
	case "share.linger":
		setting = "linger"
	case "metrics.listen":
		setting = "metrics"
	case "hpcapmon.dir":
		setting = "hpcapmon"
	}
	setting = strings.Replace(setting, "retention.", "keep-", 1)
	return "--" + strings.NewReplacer("_", "-", ".", "-").Replace(setting)
}

// ports returns the settings of each device. One of several has a name, which its
// device is known by in file names, sockets and messages.
func ports(p settings.Port, devices []string) (all []settings.Port) {
	used := map[string]bool{}
	for _, d := range devices {
		one := p
		one.Device = d
		if len(devices) > 1 {
			label := archive.Label(d)
			one.Name = label
			for n := 2; used[one.Name]; n++ {
				one.Name = fmt.Sprintf("%s-%d", label[:min(len(label), 40)], n)
			}
			used[one.Name] = true
		}
		all = append(all, one)
	}
	return all
}

// fromFile reads the settings file. A flag may not repeat what belongs there: a
// reload could not tell which of the two holds.
func fromFile(cmd *cobra.Command, file string, args []string) (*settings.Settings, error) {
	var both string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains(withConfig, f.Name) {
			both = f.Name
		}
	})
	if both != "" {
		return nil, cli.Usagef("--%s: does not go with --config. Write it into %s", both, file)
	}
	if len(args) > 0 {
		return nil, cli.Usagef("unexpected operand %q", args[0])
	}
	return settings.Load(file)
}
