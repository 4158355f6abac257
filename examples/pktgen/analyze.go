package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/packetsource"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/transmit/probe"
)

func analyzeCommand() *cobra.Command {
	var shares []string
	cmd := &cobra.Command{
		Use:   "analyze [flags] [FILE|DIR]...",
		Short: "Report on generated frames in a capture",
		Long: `Report on frames of pktgen send in a capture: loss, reordering, duplicates, one-way
delay and jitter of each stream. Frames are read from files of captures, RAW, pcap or
pcapng, and directories of such files; or with --share from running captures, until these
end or SIGINT.

Lost are sequence numbers between the first and the last that arrived. Delays are the
receiver's stamp less the time of sending: with two hosts their clocks must agree. The
time of sending is that of the schedule, or by software that at which a late frame was
written.`,
		Example: `  pktgen analyze sent.pcap
  pktgen analyze --share /run/ixcap`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			if (len(args) == 0) == (len(shares) == 0) {
				return cli.Usagef("analyze: give files or directories, or --share")
			}
			ctx := cli.Interrupted("pktgen")
			if len(shares) > 0 {
				return analyzeLive(ctx, shares)
			}
			return analyzeFiles(ctx, args)
		},
	}
	cli.Group(cmd, "Input", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&shares, "share", nil, "read from the captures whose sockets are in this `directory` (hpcapdd --share)")
	})
	return cmd
}

// analyze reports on the frames that next returns, until io.EOF.
func analyze(next func() (data []byte, length int, nano int64, err error)) error {
	var a probe.Analyzer
	for {
		data, length, nano, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		a.Add(data, length, nano)
	}
	if len(a.Reports()) == 0 {
		return fmt.Errorf("no frame of pktgen send among %d", a.Unmarked())
	}
	return cli.Print(a.WriteText)
}

func analyzeFiles(ctx context.Context, paths []string) (err error) {
	q := query.Request{Queue: capture.AllQueues, Logger: cli.Logger(cli.Stderr, "pktgen", false), Stop: ctx.Done()}
	result, err := query.Find(q, paths...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	err = analyze(func() ([]byte, int, int64, error) {
		p, err := result.Next()
		if err != nil {
			return nil, 0, 0, err
		}
		return p.Data, int(p.Len), p.Nano, err
	})
	return errors.Join(err, result.Faults())
}

// analyzeLive reads running captures in the order of their stamps. It never holds one back.
func analyzeLive(ctx context.Context, shares []string) error {
	var sources []*packetsource.Source
	for _, dir := range shares {
		sockets, err := query.Sockets(dir)
		if err != nil {
			return fmt.Errorf("--share: %w", err)
		}
		for _, socket := range sockets {
			l, err := stream.Attach(socket, "pktgen", stream.Options{Policy: stream.Lossy})
			if err != nil {
				return err
			}
			defer l.Close()
			sources = append(sources, packetsource.New(l, nil))
		}
	}
	m := packetsource.NewMerge(packetsource.DefaultHold, sources...)
	err := analyze(func() ([]byte, int, int64, error) {
		p, _, err := m.Next(ctx)
		if err != nil && ctx.Err() != nil {
			err = io.EOF // it was told to end
		}
		if err != nil {
			return nil, 0, 0, err
		}
		return p.Data, int(p.Len), p.UnixNano(), nil
	})
	var missed uint64
	for _, s := range sources {
		missed += s.Stats().Overrun
	}
	if missed > 0 {
		err = errors.Join(err, fmt.Errorf("%s not read from the capture's memory: pktgen was too slow, and counts them as lost", units.Plural(missed, "frame")))
	}
	return err
}
