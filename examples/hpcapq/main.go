// Hpcapq finds packets in the stored files of a capture, and verifies and repairs the files.
package main

import (
	"cmp"
	"context"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/archive/store"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// options are the command line.
type options struct {
	request query.Request
	dirs    []string
	shares  []string
	out     string
	format  pcapfile.Format
	stats   bool
	force   bool
	count   uint64         // packets at most; 0: all
	snap    int            // bytes kept of a packet; 0: all
	segment units.Size     // bytes of an output file; 0: no limit
	rotate  units.Duration // period of output files; 0: none
	split   split
	io      ioPriority
	zone    *time.Location // local time
}

// window returns the time span that is asked for.
func (o *options) window() units.Window {
	return units.Window{From: o.request.From, To: o.request.To}
}

func main() { cli.Main(command(runQuery, maintain)) }

// command returns the command line, which calls find or care.
func command(find func(context.Context, options) error, care func(maintenance, io.Writer) error) *cobra.Command {
	o := options{io: idle}
	o.request.Queue = capture.AllQueues
	var u unparsed
	cmd := &cobra.Command{
		Use:   "hpcapq [flags] -r DIR -w FILE|-",
		Short: "Find packets in the stored files of a capture; verify and repair the files",
		Long: `Find packets in stored files, RAW, pcap and pcapng, compressed or not, and write them,
ordered by timestamp, as pcap or pcapng with nanoseconds. The index of each RAW file rules out
blocks that cannot match, the seek table of a compressed file those before the window; other
files are read from their start. With --share, packets that a running capture holds in memory
are found too. --follow waits for what is captured until the window is over, and is up to 3 s
behind it; with --share and without -r it writes packets as they arrive, from memory alone.

TIME is 2026-11-21T14:00:00Z, "2026-11-21 14:00", 14:00 (today), "yesterday 14:00", -5m
(before now), now or @1795269600.5 (seconds since 1970); for --to also +1m (after --from).
docs/TIMES.md lists all forms. Without a zone it is local time ($TZ). The window includes
--from and excludes --to.`,
		Example: `  hpcapq -r /data0 --from -5m -f 'port 53' -w - | tcpdump -n -r -
  hpcapq -r /data0 -r /data1 --from 14:00 --to +1m -f 'host 10.0.0.1' -w minute.pcapng
  hpcapq -r /data0 --share /run/ixcap --from now --to +5m --follow -w next.pcapng
  hpcapq --share /run/ixcap --follow -f 'port 53' -w - | tcpdump -n -r -
  hpcapq -r /data0 -C 100MiB -w part.pcapng
  hpcapq verify /data0`,
		Args: cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			zone, err := units.LocalZone()
			if err != nil {
				if u.from != units.NoLimit || u.to != units.NoLimit {
					return cli.Usagef("%w", err)
				}
				zone = time.UTC
			}
			if err := complete(&o, u, time.Now().In(zone)); err != nil {
				return err
			}
			if len(o.dirs) == 0 {
				return runLive(cli.Interrupted("hpcapq"), o)
			}
			return find(cli.Interrupted("hpcapq"), o)
		},
	}
	cli.Group(cmd, "Packets", func(flags *pflag.FlagSet) {
		flags.StringArrayVarP(&o.dirs, "read", "r", nil, "read the files in this `directory`, or one file; may be repeated")
		flags.StringArrayVar(&o.shares, "share", nil, "read the memory of the capture with sockets in this `directory`, too; may be repeated")
		flags.StringVar(&u.from, "from", units.NoLimit, "first `time`; none: the beginning")
		flags.StringVar(&u.to, "to", units.NoLimit, "`time` to end before; none: the end")
		flags.BoolVar(&o.request.Follow, "follow", false, "wait for packets until the window is over, or the capture of --share ends")
		flags.StringVarP(&u.filter, "filter", "f", cli.None, "find packets that match this pcap-filter `expression`")
		flags.StringVar(&o.request.Port, "port", "", "read only files of the port with this `name`")
		flags.IntVar(&o.request.Queue, "queue", capture.AllQueues, "read only files of this `queue`; -1: all")
		flags.StringVar(&o.request.Format, "input-format", "", "read only files of this `format`: raw, pcap or pcapng")
		flags.Uint64VarP(&o.count, "count", "c", 0, "end after `N` packets; 0: all")
		flags.IntVarP(&o.snap, "snaplen", "s", 0, "write at most this many `bytes` of a packet; 0: all")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.out, "write", "w", "", "write this `file`, named .pcap or .pcapng; - is standard output")
		flags.StringVarP(&u.format, "format", "F", "", "`format` of the output, pcap or pcapng; default: by its name")
		flags.VarP(&o.segment, "segment", "C", "begin a new file after this `size`: NAME-000000.pcap, NAME-000001.pcap ...; 0: one file")
		flags.VarP(&o.rotate, "rotate", "G", "begin a new file at multiples of this `time` since midnight UTC, by the timestamps; 0: one file")
		flags.Var(&o.split, "split", "begin a new file after this number of `packets`; or file: write a file for each input file")
		flags.BoolVar(&o.force, "force", false, "replace an output that exists")
		flags.BoolVar(&o.stats, "stats", false, "print what was read and what was skipped")
		flags.Var(&o.io, "io", "I/O `priority`: idle, low or normal")
	})
	for _, m := range maintenances {
		cmd.AddCommand(m.command(care))
	}
	return cmd
}

// unparsed are flags that are parsed together.
type unparsed struct{ from, to, filter, format string }

// complete parses u into o and checks it.
func complete(o *options, u unparsed, now time.Time) (err error) {
	w, err := units.ParseWindow(u.from, u.to, now)
	if err != nil {
		return cli.Usagef("--%w", err)
	}
	o.request.From, o.request.To, o.zone = w.From, w.To, now.Location()
	if u.filter != cli.None {
		if o.request.Filter, err = pcapfilter.Compile(u.filter); err != nil {
			return cli.Usagef("--filter: %s", strings.TrimPrefix(err.Error(), "pcapfilter: "))
		}
	}
	if u.format == "" && o.out != "-" {
		u.format = strings.ToLower(strings.TrimPrefix(filepath.Ext(o.out), "."))
	}
	o.format = pcapfile.Format(cmp.Or(u.format, string(pcapfile.Pcap)))
	switch {
	case len(o.dirs) == 0 && len(o.shares) > 0 && o.request.Follow:
		return checkLive(o)
	case len(o.dirs) == 0:
		return cli.Usagef("no directory: name the one with the stored files with -r")
	case o.out == "":
		return cli.Usagef("no output: name it with -w")
	case o.format != pcapfile.Pcap && o.format != pcapfile.Pcapng:
		return cli.Usagef("output %s: the name must end in .pcap or .pcapng. Or choose the format with --format", o.out)
	case o.request.Queue < capture.AllQueues:
		return cli.Usagef("--queue %d: must be 0 or more", o.request.Queue)
	case o.snap < 0:
		return cli.Usagef("--snaplen %d: must be 0 or more", o.snap)
	case o.out == "-" && (o.segment != 0 || o.rotate != 0 || o.split != split{}):
		return cli.Usagef("-w -: standard output is one file. Omit --segment, --rotate and --split, or name a file")
	case o.split.files && o.request.Follow:
		return cli.Usagef("--split file: files are read one after the other. Omit --follow")
	case o.split.files && len(o.shares) > 0:
		return cli.Usagef("--split file: packets in memory are in no file. Omit --share")
	case !slices.Contains([]string{"", "raw", "pcap", "pcapng"}, o.request.Format):
		return cli.Usagef("--input-format %q: must be raw, pcap or pcapng", o.request.Format)
	}
	if err := checkName(o.out); err != nil {
		return err
	}
	if err := store.CheckPeriod(o.rotate.Duration()); err != nil {
		return cli.Usagef("--rotate: %w", err)
	}
	return nil
}

// checkName returns a usage error if an output's name is not one of a pcap or pcapng file.
func checkName(name string) error {
	switch base := filepath.Base(name); {
	case name == "-":
		return nil
	case strings.HasSuffix(base, ".") || strings.HasSuffix(name, "/"):
		return cli.Usagef("output %s: is no name of a file. Choose one that ends in .pcap or .pcapng", name)
	case strings.EqualFold(filepath.Ext(strings.TrimSuffix(base, archive.Part)), archive.Raw):
		return cli.Usagef("output %s: is the name of a stored file. Choose one that ends in .pcap or .pcapng", name)
	}
	return cli.Uncompressed(name)
}
