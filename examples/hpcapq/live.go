package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcappipe"
	"github.com/ixcap/ixcap/capture/archive/query"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/examples/internal/cli"
)

// checkLive returns a usage error for what needs stored files.
func checkLive(o *options) error {
	switch {
	case o.out == "":
		return cli.Usagef("no output: name it with -w")
	case o.format != pcapfile.Pcap && o.format != pcapfile.Pcapng:
		return cli.Usagef("output %s: the name must end in .pcap or .pcapng. Or choose the format with --format", o.out)
	case o.window() != (units.Window{}), o.count != 0, o.request.Port != "", o.request.Queue != capture.AllQueues, o.request.Format != "",
		o.segment != 0, o.rotate != 0, o.split != split{}, o.stats:
		return cli.Usagef("without -r packets are written as they arrive, all of them: give --filter, --snaplen, --format and --force only")
	case o.snap < 0:
		return cli.Usagef("--snaplen %d: must be 0 or more", o.snap)
	}
	return checkName(o.out)
}

// runLive writes the packets of running captures as they arrive, until the captures end or
// ctx is done. It never holds a capture back.
func runLive(ctx context.Context, o options) (err error) {
	logger := cli.Logger(cli.Stderr, "hpcapq", false)
	var sockets []string
	for _, dir := range o.shares {
		more, err := query.Sockets(dir)
		if err != nil {
			return fmt.Errorf("--share: %w", err)
		}
		sockets = append(sockets, more...)
	}
	out, err := cli.Create(o.out, nil, o.force)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	pipe, err := pcappipe.New(out, pcappipe.Config{Name: o.out, Format: o.format, Filter: o.request.Filter, SnapLen: o.snap})
	if err != nil {
		return err
	}
	var listeners []*stream.Listener
	var storers []*pcappipe.Storer
	for _, socket := range sockets {
		l, err := stream.Attach(socket, "hpcapq", stream.Options{Policy: stream.Lossy})
		if err != nil {
			return err
		}
		defer l.Close()
		name, queue := l.Source()
		listeners = append(listeners, l)
		storers = append(storers, pipe.NewStorer(pcappipe.Source{Interface: pcapfile.Interface{Name: name, Description: fmt.Sprintf("queue %d", queue)}}))
	}
	pipe.Start()
	ended := make(chan error, len(storers))
	for i, s := range storers {
		go func() { ended <- s.Run(ctx, listeners[i]) }()
	}
	for range storers {
		if bad := <-ended; ctx.Err() == nil && !errors.Is(bad, stream.ErrAbandoned) && pipe.Err() == nil {
			err = errors.Join(err, bad)
		}
	}
	err = errors.Join(err, pipe.Close())
	var missed uint64
	for _, l := range listeners {
		missed += l.Stats().Overrun
	}
	if missed > 0 {
		logger.Warn(units.Plural(missed, "packet") + " missed: the reader of the output was too slow")
	}
	if err != nil {
		return err
	}
	return out.Commit()
}
