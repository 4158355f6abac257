// Pktgen sends generated frames, and reports on those that arrived.
//
// Package transmit and those below it do the work; this program has flags and output.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/pci/vfio"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	_ "github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/transmit"
	"github.com/ixcap/ixcap/transmit/traffic"
)

func main() { cli.Main(command()) }

func command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pktgen COMMAND",
		Short: "Send generated frames, and report on those that arrived",
		Long: `Send generated frames through an 82599 at given times, and report on those that arrived:
loss, reordering, duplicates, one-way delay and jitter. Each frame carries a stream, a
sequence number and the time of sending. See docs/SEND.md.`,
		Example: `  pktgen send --rate 1Mpps --duration 10s 0000:03:00.0
  pktgen send --size imix --rate 5Gbps --flows 1000 --src 10.0.0.0/16 -c 1000000 sim:sink=sent.pcap
  pktgen analyze sent.pcap`,
		Args: cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cli.Usagef("pktgen: no command: send or analyze")
		},
	}
	cmd.AddCommand(sendCommand(), analyzeCommand())
	return cmd
}

// options are the command line of pktgen send.
type options struct {
	spec     traffic.Spec
	gaps     string
	src, dst string // MAC addresses
	method   transmit.Method
	duration units.Duration
	queues   int
}

func sendCommand() *cobra.Command {
	o := options{method: transmit.Software}
	s := &o.spec
	_ = s.Src.Set("10.0.0.1")
	_ = s.Dst.Set("10.0.0.2")
	_ = s.SrcPort.Set("1024")
	_ = s.DstPort.Set("9")
	cmd := &cobra.Command{
		Use:   "send [flags] PORT",
		Short: "Send generated frames",
		Long: `Send generated frames, and print what was sent and the spacing that was achieved.

PORT is an 82599: its PCI address if it is bound to vfio-pci, vfio-user:SOCKET, or the
software 82599, sim:sink=FILE, which writes what it sends to a pcap file.

Frames that come due closer than the line allows follow back to back. The spacing is
measured by the software 82599; a card does not record when it sends.`,
		Example: `  pktgen send --rate 1Mpps --by limiter --duration 10s 0000:03:00.0
  pktgen send --gaps burst=10,1ms --rate 100kpps -c 1000 sim:sink=trains.pcap`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			return cli.Operands(1, 1)(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return send(o, args[0])
		},
	}
	cli.Group(cmd, "Frames", func(flags *pflag.FlagSet) {
		flags.Var(&s.Sizes, "size", "`bytes` without CRC: one size, a range 60-1514, a mix 60:7,590:4,1514:1, or imix, which is that mix; default 60")
		flags.Uint64Var(&s.Flows, "flows", 1, "this `number` of 5-tuples in turn, out of the addresses and ports")
		flags.Var(&s.Src, "src", "source `addresses`: one, a prefix 10.0.0.0/24, or a range 10.0.0.1-10.0.0.9")
		flags.Var(&s.Dst, "dst", "destination `addresses`")
		flags.Var(&s.SrcPort, "src-port", "source `ports`: one, or a range 1024-2047")
		flags.Var(&s.DstPort, "dst-port", "destination `ports`")
		flags.BoolVar(&s.TCP, "tcp", false, "TCP, not UDP")
		flags.StringVar(&o.src, "src-mac", "", "source `address`; the port's by default")
		flags.StringVar(&o.dst, "dst-mac", "02:00:00:00:00:02", "destination `address`")
		flags.Uint16Var(&s.VLAN, "vlan", 0, "an 802.1Q tag with this `ID`; 0: none")
		flags.Uint64Var(&s.Seed, "seed", 1, "`seed` of random sizes and times")
		flags.Uint8Var(&s.Stream, "stream", 0, "`number` of the stream; with several queues those that follow, too")
	})
	cli.Group(cmd, "Times", func(flags *pflag.FlagSet) {
		flags.Var(&s.Rate, "rate", "`rate`: line, frames a second 14.88Mpps, or bits a second 5Gbps with preamble, CRC and gap; of all queues together")
		flags.StringVar(&o.gaps, "gaps", "constant", "`distances`: constant, poisson, burst=FRAMES,PAUSE, on-off=TIME,TIME, or file=NAME with one in ns a line")
		flags.Var(&o.method, "by", "`method` of spacing: software, limiter (of the queue) or filler (frames with a wrong CRC)")
		flags.Uint64VarP(&s.Count, "count", "c", 0, "send this `number` of frames on each queue; 0: without end")
		flags.Var(&o.duration, "duration", "send for this `time`; 0: without end")
		flags.IntVar(&o.queues, "queues", 1, "transmit `queues`, 1 to 16")
	})
	return cmd
}

func (o *options) check() (err error) {
	s := &o.spec
	if s.Gaps, err = traffic.ParseGaps(o.gaps, func(name string) (io.ReadCloser, error) { return cli.Open(name) }); err != nil {
		return cli.Usagef("--gaps %v", err)
	}
	if s.DstMAC, err = parseMAC(o.dst); err != nil {
		return cli.Usagef("--dst-mac %v", err)
	}
	if o.src != "" {
		if s.SrcMAC, err = parseMAC(o.src); err != nil {
			return cli.Usagef("--src-mac %v", err)
		}
	}
	switch {
	case s.VLAN > 4094:
		return cli.Usagef("--vlan %d: want 1 to 4094", s.VLAN)
	case o.queues < 1 || o.queues > 16 || int(s.Stream)+o.queues > 256:
		return cli.Usagef("--queues %d: want 1 to 16, and at most 256 streams", o.queues)
	case o.queues > 1 && o.method == transmit.Filler && !s.Rate.Line():
		return cli.Usagef("--by filler: filler frames of one queue fill the line. Choose one queue")
	case o.method == transmit.Limiter && (s.Rate.Line() || !s.Gaps.Constant()):
		return cli.Usagef("--by limiter: the device spaces frames by one rate. Give a --rate, and no --gaps")
	}
	_, one := s.Sizes.One()
	if o.method == transmit.Limiter && !one && s.Rate.Bits == 0 {
		return cli.Usagef("--by limiter: the device counts bytes. With several sizes, give --rate in bits a second")
	}
	return nil
}

func parseMAC(text string) (mac [6]byte, err error) {
	a, err := net.ParseMAC(text)
	if err != nil || len(a) != 6 {
		return mac, fmt.Errorf("%q: want six bytes such as 02:00:00:00:00:02", text)
	}
	return [6]byte(a), nil
}

// sources makes a generator for each queue.
func (o *options) sources(port *transmit.Port) (all []transmit.Source, err error) {
	for i := range o.queues {
		s := o.spec
		if o.src == "" {
			s.SrcMAC = port.MAC()
		}
		s.Stream += uint8(i)
		s.Rate.Frames /= float64(o.queues)
		s.Rate.Bits /= float64(o.queues)
		g, err := traffic.New(s)
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		all = append(all, g)
	}
	return all, nil
}

func send(o options, name string) (err error) {
	cli.SetGCPercent()
	ctx := cli.Interrupted("pktgen")
	log := cli.Logger(cli.Stderr, "pktgen", false)
	if o.duration > 0 {
		limited, cancel := context.WithTimeout(ctx, o.duration.Duration()+time.Millisecond)
		defer cancel()
		ctx = limited
	}
	port, err := transmit.Open(ctx, name, transmit.PortConfig{
		Queues: o.queues, MaxFrame: o.spec.Sizes.Max() + 4,
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
	sources, err := o.sources(port)
	if err != nil {
		return err
	}
	cfg := transmit.Config{Method: o.method}
	if o.spec.Rate.Line() && o.spec.Gaps.Constant() {
		cfg.Method = transmit.LineRate
	}
	if o.method == transmit.Limiter {
		cfg.Rate = o.limit(port.Speed())
	}
	report, err := port.Run(ctx, cfg, sources...)
	if report.Frames == 0 && err != nil {
		return err
	}
	return errors.Join(err, cli.Print(report.WriteText))
}

// limit is the rate of each queue's limiter, which counts frames with CRC.
func (o *options) limit(speed float64) float64 {
	n, _ := o.spec.Sizes.One()
	r := o.spec.Rate
	bits := r.Frames * float64(n+4) * 8
	if r.Bits > 0 {
		bits = r.Bits * float64(n+4) / float64(transmit.WireBytes(n))
	}
	return min(bits/float64(o.queues), speed)
}
