// Demo captures a pcap file that the software 82599 replays at line rate, and
// verifies the RAW files frame by frame.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

func main() { cli.Main(command()) }

// options are the command line.
type options struct {
	file, dir string
	loop      int
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "demo [flags]",
		Short: "Capture a replayed pcap file and verify the RAW files frame by frame",
		Long: `Replay a pcap file at line rate into the software 82599, capture it to RAW files
through driver, engine and storer, and compare the files with it frame by frame.`,
		Example: "  demo -r testdata/hosts.pcap -w build/demo",
		Args:    cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cli.NotEmpty(cmd) != nil:
				return cli.NotEmpty(cmd)
			case o.loop < 1:
				return cli.Usagef("--loop %d: must be 1 or more", o.loop)
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Files", func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.file, "read", "r", "testdata/hosts.pcap", "replay this pcap `file`")
		flags.StringVarP(&o.dir, "write", "w", "build/demo", "`directory` for the RAW files")
		flags.IntVar(&o.loop, "loop", 20, "replay it `N` times")
	})
	return cmd
}

func run(o options) error {
	frames, err := load(o.file)
	if err != nil {
		return err
	}
	// With backpressure the wire waits for a machine that is too slow for 10 Gb/s, so
	// that no frame is lost on any. The rates printed below are those achieved.
	device := fmt.Sprintf("sim:pcap=%s,rate=line,loop=%d,backpressure", wire.Quote(o.file), o.loop)
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	before, err := rawFiles(o.dir)
	if err != nil {
		return err
	}
	ledger, err := captureTo(o.dir, device)
	if err != nil {
		return err
	}
	after, err := rawFiles(o.dir)
	if err != nil {
		return err
	}
	// Files of earlier runs may sort after the new ones.
	files := slices.DeleteFunc(after, func(f string) bool { return slices.Contains(before, f) })
	took, err := compare(files, frames, o.loop)
	if err != nil {
		return err
	}
	if err := ledger.WriteText(os.Stdout); err != nil {
		return err
	}
	sent := frames.bytes * int64(o.loop)
	line := frames.lineTime() * time.Duration(o.loop)
	fmt.Printf("verified: %d frames in %d files in %s equal those of %s, sent %d times\n",
		len(frames.data)*o.loop, len(files), o.dir, o.file, o.loop)
	fmt.Printf("rate: %.3f Gb/s, %.3f Mpps, in %v between first and last stamp (line rate: %v)\n",
		float64(sent)*8/float64(took), float64(len(frames.data)*o.loop)/took.Seconds()/1e6,
		took.Round(time.Microsecond), line.Round(time.Microsecond))
	return ledger.Balanced()
}

// captureTo captures a device to RAW files until its wire ends.
func captureTo(dir, device string) (l capture.Ledger, err error) {
	cli.SetGCPercent()
	engine, _, err := nic.NewEngine(device, nic.Config{}, capture.Config{Buffer: 64 << 20})
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	c := recorder.Config{Dirs: []string{dir}, Queue: capture.AllQueues}
	c.Store.Port = "demo"
	return recorder.Run(cli.Interrupted("demo"), engine, c)
}

// compare requires that the files hold the frames loop times, and returns the time
// between the first and the last stamp.
func compare(files []string, frames *frames, loop int) (time.Duration, error) {
	var first, last time.Time
	n, all := 0, len(frames.data)*loop
	for rec, err := range cli.Records(files) {
		if err != nil {
			return 0, err
		}
		if n == all {
			return 0, fmt.Errorf("more frames captured than the %d sent", all)
		}
		want := frames.data[n%len(frames.data)]
		if !bytes.Equal(want, rec.Data) || int(rec.Len) != len(want) {
			return 0, fmt.Errorf("frame %d differs from the frame sent", n)
		}
		if last = rec.Time(); n == 0 {
			first = last
		}
		n++
	}
	if n != all {
		return 0, fmt.Errorf("%d frames captured of %d sent", n, all)
	}
	return last.Sub(first), nil
}
