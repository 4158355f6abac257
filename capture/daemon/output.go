package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/units"
)

// startOutput begins Config.Output, if there is one. Once it takes nothing any more the
// capture of all ports ends, also of those that have nothing to write to it.
func (d *Daemon) startOutput(ctx context.Context, stop func(), services *sync.WaitGroup) {
	if d.pipe == nil {
		return
	}
	d.pipe.Start()
	services.Go(func() {
		select {
		case <-d.pipe.Failed():
			stop()
		case <-ctx.Done():
		}
	})
}

// endOutput waits until all packets are in the output. That its reader has closed it is an
// end of the capture in order, which the log tells; any other failure is an error of every
// port, as one of a disk is.
func (d *Daemon) endOutput() {
	if d.pipe == nil {
		return
	}
	err := d.pipe.Close()
	if late := d.pipe.Late(); late > 0 {
		d.log.Warn(fmt.Sprintf("%s: %s of several queues written after packets with later stamps", d.config.OutputName, units.Plural(late, "packet")))
	}
	closed := d.closedByReader(err)
	if closed {
		d.log.Info(d.config.OutputName + ": closed by its reader: the capture has ended")
	}
	for _, p := range d.ports {
		switch {
		case closed && d.closedByReader(p.err):
			p.err = nil
		case !closed && p.err == nil:
			p.err = err
		}
	}
}

// closedByReader reports whether an error is that the reader of Config.Output has closed it.
func (d *Daemon) closedByReader(err error) bool {
	return d.pipe != nil && errors.Is(err, unix.EPIPE)
}
