package meter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/ixcap/ixcap/capture/stream"
)

// Config configures Count.
type Config struct {
	Threads int    // 1 or more
	Name    string // of the listeners: NAME-0, NAME-1 and so on
	Policy  stream.Policy

	// Fanout are the settings of the group that the threads join, without member=, as in
	// docs/STREAM.md; "": each thread reads every packet.
	Fanout string
}

// Count attaches threads to the sockets of queues, and calls attached. Then they read until
// ctx is done or the captures end, and do nothing with the packets. Each thread is one
// listener, or one member of the group, of every queue.
func Count(ctx context.Context, sockets []string, cfg Config, attached func()) error {
	var all []*stream.Listener
	defer func() {
		for _, l := range all {
			_ = l.Close()
		}
	}()
	for n := range cfg.Threads {
		o := stream.Options{Policy: cfg.Policy}
		if cfg.Fanout != "" { // of the same name in every queue, so that a flow has one member in all
			o.Fanout = fmt.Sprintf("%s\nmember=%s-%d-%d", cfg.Fanout, cfg.Name, os.Getpid(), n)
		}
		for _, socket := range sockets {
			l, err := stream.Attach(socket, fmt.Sprintf("%s-%d", cfg.Name, n), o)
			if err != nil {
				return err
			}
			all = append(all, l)
		}
	}
	attached()
	var reading sync.WaitGroup
	errs := make([]error, len(all))
	for i, l := range all {
		reading.Go(func() { errs[i] = count(ctx, l) })
	}
	reading.Wait()
	return errors.Join(errs...)
}

// count reads a queue to its end.
func count(ctx context.Context, l *stream.Listener) error {
	for range l.Packets(ctx) { // the listener counts
	}
	switch err := l.Err(); {
	case ctx.Err() != nil, errors.Is(err, stream.ErrAbandoned):
		return nil
	default:
		return err
	}
}
