package ixcap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/hwfilter"
	"github.com/ixcap/ixcap/capture/packetsource"
	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/capture/stream"
	_ "github.com/ixcap/ixcap/pci/vfio"     // eth2, 0000:03:00.0
	_ "github.com/ixcap/ixcap/pci/vfiouser" // vfio-user:
	_ "github.com/ixcap/ixcap/sim"          // sim:
)

// Ledger tells what became of every frame: Balanced returns an error unless the sums
// agree, Lost and TotalLost the number of frames lost, Frames that of frames stored,
// WriteText and WriteJSON print it (docs/JSON.md). See go doc ./capture Ledger.
type Ledger = capture.Ledger

// Counters are what has been counted so far. See go doc ./capture Counters.
type Counters = capture.Counters

// Packet is one frame: Data (what was stored of it), Len (bytes on the wire without
// CRC), Time(), Hash, VLAN and Info. It is valid until the next one is read. See go
// doc ./capture/stream Packet.
type Packet = stream.Packet

// Listener reads the stream of one queue: Packets (a loop), Next (a call),
// ReadPacketData and ZeroCopyReadPacketData (for gopacket). Err returns why a loop
// ended, Filtered how many packets did not match, Stats its side of the ledger, Queue
// the queue; Close detaches it. See go doc ./capture/packetsource Source, and
// ./capture/stream Listener for the rest.
type Listener = packetsource.Source

// Errors that reading a listener returns. At the end of a stream it is io.EOF.
var (
	ErrClosed    = stream.ErrClosed    // the listener is closed; it is os.ErrClosed
	ErrDetached  = stream.ErrDetached  // the capture detached the listener
	ErrAbandoned = stream.ErrAbandoned // the process that captured is gone
)

// drainTimeout is how long Run waits at the end for listeners that do not read.
const drainTimeout = 5 * time.Second

// Capture is a capture on one port. Any goroutine may call its methods.
type Capture struct {
	engine   *capture.Engine
	filters  *ports.Filtering
	log      *slog.Logger
	recorder *recorder.Recorder // nil: nothing is stored
	servers  []*stream.Server
	flushLog func()
}

// Open opens a port. Frames are received from Run on.
func Open(ctx context.Context, port string, options ...Option) (*Capture, error) {
	o, err := settings(options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", port, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", port, err)
	}
	plan, err := o.filters.Plan(max(o.port.Queues, 1), o.port.OuterVLAN)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", port, err)
	}
	o.port.FlowDirector = plan.FlowDirector
	engine, device, err := ports.NewEngine(port, o.port, o.capture)
	if err != nil {
		return nil, err
	}
	return open(ctx, engine, device, o)
}

// OpenSource opens a capture on a port of the program's own: anything that
// implements capture.Port. Options of the network card do not apply. The capture
// owns the port, unless OpenSource fails.
func OpenSource(ctx context.Context, port capture.Port, options ...Option) (*Capture, error) {
	o, err := settings(options)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", port.Name(), err)
	}
	engine, err := capture.New(port, o.capture)
	if err != nil {
		return nil, err
	}
	return open(ctx, engine, port, o)
}

func open(ctx context.Context, engine *capture.Engine, port capture.Port, o *config) (_ *Capture, err error) {
	c := &Capture{engine: engine, flushLog: o.flushLog, log: cmp.Or(o.capture.Logger, slog.New(slog.DiscardHandler))}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open %s: %w", port.Name(), err)
	}
	if c.filters, err = ports.NewFiltering(port, engine, o.filters, o.capture.Rules); err != nil {
		return nil, err
	}
	c.logFilters()
	if o.share != "" {
		if err := c.share(o.share); err != nil {
			return nil, err
		}
	}
	if len(o.dirs) > 0 {
		c.recorder, err = recorder.New(engine, recorder.Config{
			Dirs: o.dirs, Queue: capture.AllQueues, Linger: drainTimeout, Logger: o.capture.Logger,
		})
	}
	return c, err
}

// share serves the streams at DIR/queue0.sock and so on.
func (c *Capture) share(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("share: %w", err)
	}
	for q := range c.engine.Queues() {
		s, err := c.engine.Stream(q).Serve(stream.ServerConfig{Path: filepath.Join(dir, fmt.Sprintf("queue%d.sock", q)), Mode: 0o600})
		if err != nil {
			return err
		}
		c.servers = append(c.servers, s)
	}
	return nil
}

// Listen attaches a listener to every queue and returns them by queue number. One
// that is to see every frame attaches before Run. Each is read by one goroutine;
// packetsource.NewMerge reads all of them in the order of stamps.
func (c *Capture) Listen(name string, options ...ListenOption) ([]*Listener, error) {
	var all []*Listener
	for q := range c.engine.Queues() {
		l, err := listen(options, func(o stream.Options) (*stream.Listener, error) { return c.engine.Stream(q).Listen(name, o) })
		if err != nil {
			for _, l := range all {
				err = errors.Join(err, l.Close())
			}
			return nil, fmt.Errorf("listen to queue %d: %w", q, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// Attach attaches a listener to a stream of another process (Share, hpcapdd
// --share) at the path of its socket.
func Attach(path, name string, options ...ListenOption) (*Listener, error) {
	return listen(options, func(o stream.Options) (*stream.Listener, error) { return stream.Attach(path, name, o) })
}

func listen(options []ListenOption, attach func(stream.Options) (*stream.Listener, error)) (*Listener, error) {
	var o listenConfig
	for _, option := range options {
		option(&o)
	}
	var filter *pcapfilter.Filter
	if o.filter != nil {
		if strings.TrimSpace(*o.filter) == "" {
			return nil, errors.New("filter \"\": the expression is empty. Omit ListenFilter to get every packet")
		}
		var err error
		if filter, err = pcapfilter.Compile(*o.filter); err != nil {
			return nil, err
		}
	}
	l, err := attach(o.Options)
	if err != nil {
		return nil, err
	}
	return packetsource.New(l, filter), nil
}

// Run captures until ctx is done, the wire ends (a replay), Count is reached or the
// capture fails. Then it stops the port, waits for the listeners to read what is left
// (5 s without progress end the wait) and returns the ledger, which is valid with any
// error. That ctx is done is no error. A Capture runs once; another Run returns an
// os.ErrClosed.
//
// Listeners that are read with the same ctx end at once when it is done, and leave
// packets unread. Read with context.Background() to get everything: the loop over
// Packets ends when Run has stopped the port.
func (c *Capture) Run(ctx context.Context) (Ledger, error) {
	if c.recorder != nil {
		return c.recorder.Run(ctx)
	}
	return c.engine.Run(ctx, drainTimeout)
}

// SetPortFilters replaces the filters of an 82599 (PortFilters) while it captures; "none"
// removes them. A frame that arrives during the change meets the old filters, the new ones,
// or none. What only the Flow Director compares is left to software, unless the port was
// opened with a filter that needs it: its memory is part of the packet buffer.
func (c *Capture) SetPortFilters(text string) error {
	r, err := hwfilter.Parse(text)
	if err == nil {
		err = c.filters.SetFilters(r)
	}
	if err == nil {
		c.logFilters()
	}
	return err
}

// logFilters logs what of each filter is in the chip.
func (c *Capture) logFilters() {
	_, plan := c.filters.Filters()
	for _, s := range plan.Rules {
		c.log.Info("port filter " + s.String())
	}
}

// Counters returns what has been counted so far.
func (c *Capture) Counters() Counters { return c.engine.Counters() }

// Engine returns the engine under the capture.
func (c *Capture) Engine() *capture.Engine { return c.engine }

// Close releases the port and its memory. Run must have returned, and the loops over
// listeners of this process must have ended: their packets lie in that memory.
func (c *Capture) Close() error {
	var errs []error
	for _, s := range c.servers {
		errs = append(errs, s.Close())
	}
	if c.recorder != nil {
		errs = append(errs, c.recorder.Close())
	}
	errs = append(errs, c.engine.Close())
	c.flushLog()
	return errors.Join(errs...)
}
