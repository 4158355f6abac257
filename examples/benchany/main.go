// Benchany captures the same traffic to files with hpcapdd, tcpdump, dumpcap and
// netsniff-ng, one after the other, on a veth pair between two network namespaces:
//
//	trafgen ─► veth in one namespace ═══ veth in another ─► program ─► files
//
// It prints the CPU time of each program per packet, and the highest rate at which each
// loses no packet. Run it as root.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

func main() {
	cli.Main(command(func(o options) error { return run(os.Stdout, o) }))
}

type options struct {
	dir     string // files go to a temporary directory in it
	hpcapdd string // program
	size    int    // bytes of a frame
	frames  int    // of a measurement of CPU time
	rate    int    // of it, packets per second
	rounds  int
	search  bool
	only    []string

	searchSize int // bytes of a frame in the search
}

func command(run func(options) error) *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "benchany [flags]",
		Short: "Compare captures to files over a veth pair: hpcapdd, tcpdump, dumpcap, netsniff-ng",
		Long: `Capture the same traffic to files with hpcapdd (packet and xdp ports), tcpdump, dumpcap
and netsniff-ng, one after the other and in several rounds, on a veth pair between two
network namespaces. Print the medians of their CPU time per packet at a rate, and the
highest rate at which each loses no packet, with each program's usual buffers. The search
is with long frames: with short ones the sender is slower than most of the programs. What the
kernel does for the sender, such as copying frames into a ring, is in no program's time.

Needs root, ip, tcpdump, dumpcap, netsniff-ng and trafgen.`,
		Example: "  benchany --hpcapdd bin/hpcapdd -w /data0 --rate 200000",
		Args:    cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if o.size < headers || o.size > 1514 || o.searchSize < headers || o.searchSize > 1514 || o.frames < 1 || o.rate < 1 || o.rounds < 1 {
				return cli.Usagef("--size and --search-size must be %d to 1514; --frames, --rate and --rounds 1 or more", headers)
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Measurement", func(flags *pflag.FlagSet) {
		flags.StringVarP(&o.dir, "write", "w", ".", "write files to a temporary directory in this `directory`")
		flags.StringVar(&o.hpcapdd, "hpcapdd", "hpcapdd", "`program` that is compared with the others")
		flags.IntVar(&o.size, "size", 60, "`bytes` of a frame, without CRC")
		flags.IntVar(&o.frames, "frames", 1_000_000, "`number` of frames of a measurement of CPU time")
		flags.IntVar(&o.rate, "rate", 200_000, "`packets` per second of it")
		flags.IntVar(&o.rounds, "rounds", 3, "repeat each measurement of CPU time `N` times")
		flags.BoolVar(&o.search, "search", true, "search the highest rates without loss, too")
		flags.IntVar(&o.searchSize, "search-size", 1514, "`bytes` of a frame in the search, without CRC")
		flags.StringArrayVar(&o.only, "only", nil, "measure only this `program`; may be repeated")
	})
	return cmd
}

func run(w io.Writer, o options) (err error) {
	hpcapdd, err := exec.LookPath(o.hpcapdd)
	if err != nil {
		return err
	}
	if o.hpcapdd, err = filepath.Abs(hpcapdd); err != nil {
		return err
	}
	for _, name := range []string{"ip", "trafgen", "tcpdump", "dumpcap", "netsniff-ng"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: apt install iproute2 netsniff-ng tcpdump wireshark-common", err)
		}
	}
	dir, err := os.MkdirTemp(o.dir, "benchany-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // some programs drop their rights
		return err
	}
	wire, err := newWire(dir, o.size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, wire.close()) }()
	all := programs(o.hpcapdd)
	if len(o.only) > 0 {
		all = slices.DeleteFunc(all, func(p program) bool { return !slices.Contains(o.only, p.name) })
	}
	bench := bench{options: o, wire: wire, dir: dir}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintf(table, "PROGRAM\tCPU TIME A PACKET\tAT\tLOST\tHIGHEST RATE WITHOUT LOSS, %d BYTES\n", o.searchSize)
	for _, r := range bench.cpu(all) {
		highest := ""
		if r.err == nil && o.search {
			highest, r.err = bench.highest(r.program)
		}
		if r.err != nil {
			fmt.Fprintf(table, "%s\t%v\t\t\t\n", r.program.name, r.err)
			continue
		}
		cost := fmt.Sprintf("%.0f ns", r.perPacket)
		if r.lost == r.sent {
			cost = "nothing stored"
		}
		fmt.Fprintf(table, "%s\t%s\t%.0f kpps\t%d of %d\t%s\n", r.program.name, cost, r.rate/1e3, r.lost, r.sent, highest)
	}
	return nil
}

// startTime is how long a program may take until it captures, and endTime until what was
// sent has reached it.
const startTime, endTime = 20 * time.Second, time.Second
