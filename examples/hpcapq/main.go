// Hpcapq finds packets in the RAW files of a capture, and looks after the files.
//
//	hpcapq -dir DIR [-share DIR] [-from T] [-to T] [-filter EXPR] [-port NAME] [-queue N] -w FILE|-
//	hpcapq verify|repair|info [-json] DIR|FILE...
//
// The packets of all ports and queues come out in the order of their stamps, as
// pcap or pcapng with nanoseconds. By the index beside each file only those parts
// are read that can hold a packet asked for; files without one are read whole.
// With -share, where a running capture shares its queues (hpcapdd -share), what it
// has in memory and not on disk yet is part of the answer: all until now.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/index"
	"github.com/ixcap/ixcap/capture/archive/rawfile/convert"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: hpcapq -dir DIR [-share DIR] [-from T] [-to T] [-filter EXPR] [-port NAME] [-queue N] -w FILE|- [flags]
       hpcapq verify|repair|info [-json] DIR|FILE...

T is a time: 2026-11-21T14:00:00Z, "2026-11-21 14:00", 14:00 (today), 1795269600.5 (seconds since 1970),
-5m (so long ago), now; for -to also +1m (so long after -from). Without a zone it is local time; TZ chooses it.
A packet stamped T itself is within -from T and without -to T.
EXPR is what tcpdump takes: host 10.0.0.1 and port 53. -w - writes pcap to standard output:
  hpcapq -dir DIR -from -5m -filter 'port 53' -w - | tcpdump -n -r -
`

// options are what the command line says.
type options struct {
	query  index.Query
	dirs   list
	shares list
	out    string
	format convert.Format
	stats  bool
	claim  claim // on the disk
}

// list is a flag that can be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() { cli.Main("hpcapq", run) }

func run(args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "verify", "repair", "info":
			return maintain(args[0], args[1:], os.Stdout)
		}
	}
	o, err := parse(args, time.Now())
	if err != nil {
		return err
	}
	if err := yield(o.claim); err != nil {
		fmt.Fprintln(os.Stderr, "hpcapq: warning:", err)
	}
	signal.Ignore(unix.SIGPIPE) // a reader that has enough is an error of a write, and no matter
	return query(cli.Interrupted("hpcapq"), o)
}

func parse(args []string, now time.Time) (o options, err error) {
	var from, to, filter, format string
	o.claim = idle
	flags := flag.NewFlagSet("hpcapq", flag.ContinueOnError)
	flags.Var(&o.dirs, "dir", "`folder` with RAW files, or one such file; can be given several times")
	flags.Var(&o.shares, "share", "`folder` with the sockets of the capture that is stored in DIR: what it has in memory, too; can be given several times")
	flags.StringVar(&from, "from", "", "first `time` wanted; the beginning by default")
	flags.StringVar(&to, "to", "", "`time` before which to end; the end by default")
	flags.StringVar(&filter, "filter", "", "pcap-filter `expression` that packets must match")
	flags.StringVar(&o.query.Port, "port", "", "only files of the port with this `name`, as file names have it")
	flags.IntVar(&o.query.Queue, "queue", index.AllQueues, "only files of queue `N`")
	flags.StringVar(&o.out, "w", "", "`file` to write, ending in .pcap or .pcapng; - for standard output")
	flags.StringVar(&format, "format", "", "`format` of the output, pcap or pcapng, whatever its name")
	flags.BoolVar(&o.stats, "stats", false, "tell what was read and what could be left unread")
	flags.Var(&o.claim, "io", "`claim` on the disk: idle (only when no other wants it), low or normal")
	if err := cli.Parse(flags, args, usage); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, cli.Usagef("unexpected argument %q: the filter is one argument of -filter", flags.Arg(0))
	}
	if o.query.From, err = parseTime(from, now, time.Time{}); err != nil {
		return o, cli.Usagef("-from: %w", err)
	}
	if o.query.To, err = parseTime(to, now, o.query.From); err != nil {
		return o, cli.Usagef("-to: %w", err)
	}
	if filter != "" {
		if o.query.Filter, err = pcapfilter.Compile(filter); err != nil {
			return o, cli.Usagef("-filter: %w", err)
		}
	}
	if format == "" && o.out != "-" {
		format = strings.TrimPrefix(filepath.Ext(o.out), ".")
	}
	o.format = convert.Format(cmp.Or(format, string(convert.Pcap)))
	switch {
	case len(o.dirs) == 0:
		return o, cli.Usagef("no folder: name the one with the RAW files with -dir")
	case o.out == "":
		return o, cli.Usagef("no output: name it with -w")
	case o.format != convert.Pcap && o.format != convert.Pcapng:
		return o, cli.Usagef("output %s: its name must end in .pcap or .pcapng, or -format say which", o.out)
	case o.query.Queue < index.AllQueues:
		return o, cli.Usagef("queue %d: want a number from 0", o.query.Queue)
	case !o.query.To.IsZero() && o.query.To.Before(o.query.From):
		return o, cli.Usagef("-to %s is before -from %s", when(o.query.To), when(o.query.From))
	}
	return o, nil
}
