// Replay sends captured frames again.
//
// Package transmit/trace does the work; this program has flags and output.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/pci/vfio"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	_ "github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/transmit"
	"github.com/ixcap/ixcap/transmit/trace"
)

func main() { cli.Main(command()) }

// options are the command line.
type options struct {
	request    trace.Request
	from, to   string
	filter     string
	src, dst   string // MAC addresses
	memory     units.Size
	rate       string
	scale      float64
	times      trace.Times
	method     transmit.Method
	duration   units.Duration
	device     string
	scaleGiven bool
}

func command() *cobra.Command {
	o := options{method: transmit.Software, memory: 1 << 30}
	cmd := &cobra.Command{
		Use:   "replay [flags] -i PORT FILE|DIR...",
		Short: "Send captured frames again",
		Long: `Send captured frames again through an 82599: at their recorded distances, at a multiple
of these, at a rate or at the line's, and print what was sent and the spacing that was
achieved. See docs/SEND.md.

Frames are read into memory from files RAW, pcap and pcapng, and from directories that
hpcapdd wrote, in the order of their stamps. PORT is an 82599: its PCI address if it is
bound to vfio-pci, vfio-user:SOCKET, or the software 82599, sim:sink=FILE.

Frames that come due closer than the line allows follow back to back. Of a packet that was
captured in part the rest is sent as zeros.`,
		Example: `  replay -i 0000:03:00.0 --by filler capture.pcapng
  replay -i 0000:03:00.0 --from 14:00 --to 14:05 --filter 'host 10.0.0.1' /data0
  replay -i sim:sink=out.pcap --rate line --loop 10 --dst-mac 02:00:00:00:00:02 in.pcap`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			return cli.Operands(1, 1000)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.request.Paths = args
			o.scaleGiven = cmd.Flags().Changed("scale")
			if err := o.check(time.Now()); err != nil {
				return err
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Frames", func(flags *pflag.FlagSet) {
		flags.StringVar(&o.from, "from", units.NoLimit, "frames from this `time` on: 14:00, yesterday 18:00, 2026-01-31T12:00:00Z, -5m")
		flags.StringVar(&o.to, "to", units.NoLimit, "frames before this `time`, or span after --from, such as +1m")
		flags.StringVarP(&o.filter, "filter", "f", "", "frames that match this pcap `expression`")
		flags.StringVar(&o.request.Query.Port, "port", "", "frames of this port: its `name` in the files' names")
		flags.Var(&o.memory, "memory", "frames take at most this `size` of memory")
		flags.StringVar(&o.src, "src-mac", "", "set the source `address`")
		flags.StringVar(&o.dst, "dst-mac", "", "set the destination `address`")
		flags.Uint16Var(&o.request.Edit.VLAN, "vlan", 0, "set the `ID` of the outer VLAN tag, or add one; 0: as it is")
		flags.BoolVar(&o.request.Edit.StripVLAN, "strip-vlan", false, "remove the outer VLAN tag")
	})
	cli.Group(cmd, "Sending", func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.device, "interface", "i", "", "send through this `PORT`")
		flags.StringVar(&o.rate, "rate", "recorded", "`rate`: recorded, line, frames a second 14.88Mpps, or bits a second 5Gbps with preamble, CRC and gap")
		flags.Float64Var(&o.scale, "scale", 1, "`times` as fast as recorded")
		flags.Var(&o.method, "by", "`method` of spacing: software, limiter (of the queue) or filler (frames with a wrong CRC)")
		flags.Uint64Var(&o.times.Loops, "loop", 1, "this `number` of rounds; 0: without end")
		flags.Var(&o.duration, "duration", "end after this `time`; 0: at the end of the frames")
	})
	return cmd
}

func (o *options) check(now time.Time) error {
	if o.device == "" {
		return cli.Usagef("no port: name it with -i")
	}
	q := &o.request.Query
	w, err := units.ParseWindow(o.from, o.to, now)
	if err != nil {
		return cli.UsageError{Err: fmt.Errorf("--%w", err)}
	}
	q.From, q.To = w.From, w.To
	if o.filter != "" {
		if q.Filter, err = pcapfilter.Compile(o.filter); err != nil {
			return cli.Usagef("--filter: %w", err)
		}
	}
	e := &o.request.Edit
	if e.Src, err = cli.MAC("--src-mac", o.src); err != nil {
		return err
	}
	if e.Dst, err = cli.MAC("--dst-mac", o.dst); err != nil {
		return err
	}
	switch {
	case e.VLAN > 4094:
		return cli.Usagef("--vlan %d: want 1 to 4094", e.VLAN)
	case e.VLAN != 0 && e.StripVLAN:
		return cli.Usagef("--vlan and --strip-vlan: choose one")
	case o.scale <= 0 || o.scale > 1e6:
		return cli.Usagef("--scale %v: want a number above 0, up to 1000000", o.scale)
	case o.scaleGiven && o.rate != "recorded":
		return cli.Usagef("--scale: is of recorded distances, and --rate is %s", o.rate)
	}
	o.times.Scale, o.times.Recorded = o.scale, o.rate == "recorded"
	if !o.times.Recorded {
		if o.times.Rate, err = transmit.ParseRate(o.rate); err != nil {
			return cli.Usagef("--rate %v; or recorded", err)
		}
	}
	o.request.Memory = int64(o.memory)
	return nil
}

func run(o options) (err error) {
	cli.SetGCPercent()
	ctx := cli.Interrupted("replay")
	log := cli.Logger(cli.Stderr, "replay", false)
	q := &o.request.Query
	q.Queue, q.Logger, q.BeforeRead = capture.AllQueues, log, ctx.Err
	frames, err := trace.Load(o.request)
	if err != nil {
		return err
	}
	for text, n := range map[string]uint64{"captured in part: the rest is sent as zeros": frames.Padded, "not sent: shorter than 14 bytes or longer than 15868": frames.Skipped} {
		if n > 0 {
			log.Warn(fmt.Sprintf("%s %s", units.Plural(n, "frame"), text))
		}
	}
	port, err := transmit.Open(ctx, o.device, transmit.PortConfig{
		Queues: 1, MaxFrame: frames.Longest(),
		OnEvent: func(e driver.Event) { log.Warn(e.Text) },
	})
	if err != nil {
		return err
	}
	defer func() {
		if bad := port.Close(); err == nil {
			err = bad
		}
	}()
	if o.duration > 0 {
		limited, cancel := context.WithTimeout(ctx, o.duration.Duration())
		defer cancel()
		ctx = limited
	}
	cfg := transmit.Config{Method: o.method}
	if !o.times.Recorded && o.times.Rate.Line() {
		cfg.Method = transmit.LineRate
	}
	report, err := port.Run(ctx, cfg, trace.NewPlayer(frames, o.times))
	if report.Frames == 0 && err != nil {
		return err
	}
	return errors.Join(err, cli.Print(report.WriteText))
}
