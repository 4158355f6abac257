package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/query"
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
			return analyze(args, shares)
		},
	}
	cli.Group(cmd, "Input", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&shares, "share", nil, "read from the captures whose sockets are in this `directory` (hpcapdd --share)")
	})
	return cmd
}

func analyze(paths, shares []string) (err error) {
	ctx := cli.Interrupted("pktgen")
	q := query.Request{Queue: capture.AllQueues, Logger: cli.Logger(cli.Stderr, "pktgen", false), Stop: ctx.Done()}
	for _, dir := range shares {
		sockets, err := query.Sockets(dir)
		if err != nil {
			return fmt.Errorf("--share: %w", err)
		}
		q.Live = append(q.Live, sockets...)
		q.Follow = true
	}
	result, err := query.Find(q, paths...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, result.Close()) }()
	var a probe.Analyzer
	for {
		p, err := result.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		a.Add(p.Data, int(p.Len), p.Nano)
	}
	if len(a.Reports()) == 0 {
		return fmt.Errorf("no frame of pktgen send among %d", a.Unmarked())
	}
	return errors.Join(cli.Print(a.WriteText), result.Faults())
}
