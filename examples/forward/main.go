// Forward passes frames on between two ports, both ways.
//
// Package transmit/forward does the work; this program has flags and output.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/transmit/forward"
)

func main() { cli.Main(command()) }

// options are the command line.
type options struct {
	config   forward.Config
	edits    [2]edit // of the frames of the first port, and of the second
	duration units.Duration
	share    string
	write    string
}

// edit are the flags of one direction.
type edit struct {
	filter, src, dst string
	push             uint16
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "forward [flags] PORT [PORT]",
		Short: "Forward frames between two ports, both ways, without copying them",
		Long: `Forward frames between two ports of the 82599, both ways, or back through a single one,
until SIGINT, and print what became of each frame. A frame is sent from the memory to which
the other port has written it. See docs/FORWARD.md.

PORT is a PCI address that is bound to vfio-pci, vfio-user:SOCKET, or sim:, the software
82599. Flags --back-... are about frames from the second port to the first.

With --share or --write, the frames that each port has received can be read by other
programs, or are stored: a tap in line. A reader that is to miss nothing and is slow holds
up what is forwarded.`,
		Example: `  forward 0000:03:00.0 0000:03:00.1
  forward -f 'not port 23' --push-vlan 7 --back-pop-vlan 0000:03:00.0 0000:03:00.1
  forward --share /run/tap --dst-mac 02:00:00:00:00:02 vfio-user:/run/a.sock vfio-user:/run/b.sock`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			return cli.Operands(1, 2)(cmd, args)
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			return run(o, args)
		},
	}
	cli.Group(cmd, "Frames", func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.edits[0].filter, "filter", "f", "", "forward frames that match this pcap `expression`, drop others")
		o.edits[0].define(flags, "", &o.config.Edits[0])
	})
	cli.Group(cmd, "Frames from the second port", func(flags *pflag.FlagSet) {
		flags.StringVar(&o.edits[1].filter, "back-filter", "", "forward frames that match this pcap `expression`, drop others")
		o.edits[1].define(flags, "back-", &o.config.Edits[1])
	})
	cli.Group(cmd, "Tap", func(flags *pflag.FlagSet) {
		flags.StringVar(&o.share, "share", "", "serve the frames that the ports receive to other programs: sockets in `directory`/0 and /1")
		flags.StringVarP(&o.write, "write", "w", "", "store them as RAW files in this `directory`/0 and /1")
	})
	cli.Group(cmd, "Ports", func(flags *pflag.FlagSet) {
		flags.IntVar(&o.config.Queues, "queues", 1, "`queues` of each direction, 1 to 16")
		flags.IntVar(&o.config.Chunks, "chunks", 64, "`chunks` of packet buffers of each queue")
		flags.IntVar(&o.config.ChunkSize, "chunk-size", 256, "packet `buffers` of a chunk, a multiple of 8")
		flags.IntVar(&o.config.RingSize, "ring", 4096, "`descriptors` of each ring")
		flags.Uint64VarP(&o.config.Count, "count", "c", 0, "end after this `number` of frames received; 0: without end")
		flags.Var(&o.duration, "duration", "end after this `time`; 0: without end")
	})
	return cmd
}

func (e *edit) define(flags *pflag.FlagSet, prefix string, to *forward.Edit) {
	flags.StringVar(&e.src, prefix+"src-mac", "", "set the source `address`")
	flags.StringVar(&e.dst, prefix+"dst-mac", "", "set the destination `address`")
	flags.BoolVar(&to.PopVLAN, prefix+"pop-vlan", false, "remove the outer VLAN tag")
	flags.Uint16Var(&e.push, prefix+"push-vlan", 0, "insert a VLAN tag with this `ID`; 0: none")
}

// apply checks the flags and sets the edit that they stand for.
func (e *edit) apply(prefix string, to *forward.Edit) (err error) {
	if e.filter != "" {
		if to.Filter, err = pcapfilter.Compile(e.filter); err != nil {
			return cli.Usagef("--%sfilter: %w", prefix, err)
		}
	}
	if to.Src, err = cli.MAC("--"+prefix+"src-mac", e.src); err != nil {
		return err
	}
	if to.Dst, err = cli.MAC("--"+prefix+"dst-mac", e.dst); err != nil {
		return err
	}
	if to.PushVLAN = e.push; e.push > 4094 {
		return cli.Usagef("--%spush-vlan %d: want 1 to 4094", prefix, e.push)
	}
	return nil
}

func (o *options) check(ports []string) error {
	for i, prefix := range []string{"", "back-"} {
		if err := o.edits[i].apply(prefix, &o.config.Edits[i]); err != nil {
			return err
		}
	}
	if len(ports) == 2 && ports[0] == ports[1] {
		return cli.Usagef("%s twice: name a port once to send its frames back through it", ports[0])
	}
	if len(ports) == 1 && (o.config.Edits[1] != forward.Edit{}) {
		return cli.Usagef("--back-...: there is no second port")
	}
	if q := o.config.Queues; q < 1 || q > driver.MaxTxQueues {
		return cli.Usagef("--queues %d: want 1 to %d", q, driver.MaxTxQueues)
	}
	return nil
}

// linkTimeout is how long links may take to come up before forwarding begins.
const linkTimeout = 5 * time.Second

func run(o options, ports []string) (err error) {
	cli.SetGCPercent()
	ctx := cli.Interrupted("forward")
	log := cli.Logger(cli.Stderr, "forward", false)
	o.config.OnEvent = func(port string, e driver.Event) {
		if e.Kind != driver.LinkChanged || !e.Link.Up {
			log.Warn(port + ": " + e.Text)
		}
	}
	b, err := forward.Open(o.config, ports...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if o.duration > 0 {
		limited, cancel := context.WithTimeout(ctx, o.duration.Duration())
		defer cancel()
		ctx = limited
	}
	waiting, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	if err := b.WaitLinks(waiting); err != nil && ctx.Err() == nil {
		log.Warn(err.Error() + ". Frames to a port without a link are dropped")
	}
	var read func(context.Context, int) error
	var t taps
	if o.share != "" || o.write != "" {
		t, err = openTaps(ctx, b, len(ports), o, ixcap.Logger(log))
		defer func() { err = errors.Join(err, t.close()) }()
		if err != nil {
			return err
		}
		read = t.run
	}
	report, err := b.Run(ctx, read)
	err = errors.Join(err, cli.Print(report.WriteText))
	for _, one := range t {
		err = errors.Join(err, cli.Print(one.ledger.WriteText))
	}
	return err
}

// tap is the capture of a port.
type tap struct {
	*ixcap.Capture
	ledger ixcap.Ledger
}

type taps []*tap

func openTaps(ctx context.Context, b *forward.Bridge, ports int, o options, log ixcap.Option) (all taps, err error) {
	for i := range ports {
		options := []ixcap.Option{log}
		if o.share != "" {
			options = append(options, ixcap.Share(filepath.Join(o.share, strconv.Itoa(i))))
		}
		if o.write != "" {
			dir := filepath.Join(o.write, strconv.Itoa(i))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return all, fmt.Errorf("--write: %w", err)
			}
			options = append(options, ixcap.Store(dir))
		}
		c, err := ixcap.OpenSource(ctx, b.Tap(i), options...)
		if err != nil {
			return all, err
		}
		all = append(all, &tap{Capture: c})
	}
	return all, nil
}

// run captures what port i receives, and forwards it, until ctx is done.
func (t taps) run(ctx context.Context, i int) (err error) {
	t[i].ledger, err = t[i].Run(ctx)
	return err
}

func (t taps) close() (err error) {
	for _, c := range t {
		err = errors.Join(err, c.Close())
	}
	return err
}
