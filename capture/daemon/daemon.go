package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/pcappipe"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/daemon/hpcapmon"
	"github.com/ixcap/ixcap/capture/daemon/metrics"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/internal/asynclog"
)

// Config holds what settings do not. Zero values are the defaults.
type Config struct {
	// Load returns new settings for Reload; nil: there is nothing to reload.
	Load func() (*settings.Settings, error)

	// Duration ends the capture this time after no port waits for listeners any more;
	// 0: no limit.
	Duration time.Duration

	// Count ends the capture of each port once so many of its frames are stored; 0: no
	// limit.
	Count uint64

	// Output gets the packets of all ports while they are captured, as OutputFormat, in
	// place of files: the settings store nothing. Closed by its reader, it ends the
	// capture. OutputName is its name in messages and in the ledger. nil: none.
	Output       io.Writer
	OutputFormat pcapfile.Format
	OutputName   string

	// Progress is called every second while the capture runs with the sum over all
	// ports and the highest buffer fill; nil: not at all.
	Progress func(capture.Rate)

	// Logger gets diagnostics. The attribute "port" names one of several ports,
	// "queue" a queue. Nothing waits for one that blocks: messages are dropped and
	// counted then. nil discards.
	Logger *slog.Logger
}

// Daemon is a set of ports being captured and the services beside them. Run it
// once.
type Daemon struct {
	config   Config
	log      *slog.Logger
	flushLog func()
	manager  *manager
	started  *settings.Settings // as given to Open
	ports    []*port
	cleaner  *retain.Cleaner // nil: nothing is stored
	pipe     *pcappipe.Pipe  // nil: no Config.Output
	metrics  *metrics.Server

	hpcapmon *hpcapmon.Writer // nil: the settings have no folder for its files

	closers []func() error // in the order of opening

	mu      sync.Mutex         // held by Reload
	running *settings.Settings // started, with the changes applied since

	once     sync.Once
	closeErr error
}

// Open opens every port with the mode capture, attaches the storers, and serves
// sockets and metrics. First it checks all settings against the machine; the error then
// joins everything that is wrong. After an error nothing is left open. s has passed its
// Check.
func Open(s *settings.Settings, cfg Config) (_ *Daemon, err error) {
	running := *s
	running.Ports = slices.Clone(s.Ports)
	d := &Daemon{config: cfg, started: s, running: &running}
	d.log, d.flushLog = asynclog.Wrap(cfg.Logger)
	d.manager = newManager(d.log)
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for _, step := range []func() error{d.onMachine, d.retain, d.open, d.monitor, d.share, d.serveMetrics} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// onMachine checks all settings before anything is opened.
func (d *Daemon) onMachine() error { return onMachine(d.started) }

// retain makes the cleaner of the folders that files are stored in.
func (d *Daemon) retain() (err error) {
	dirs := folders(d.started)
	if len(dirs) == 0 {
		return nil
	}
	onEvent := func(e retain.Event) {
		level := slog.LevelInfo
		if e.Err != nil || e.Open || e.Reclaimed > 0 {
			level = slog.LevelWarn
		}
		d.log.Log(context.Background(), level, e.String())
	}
	d.cleaner, err = retain.New(retain.Config{Dirs: dirs, Policy: policy(d.started), OnEvent: onEvent})
	return err
}

// open opens the ports in their order. Each gets cores that no other port has.
func (d *Daemon) open() error {
	if out := d.config.Output; out != nil {
		pipe, err := pcappipe.New(out, pcappipe.Config{
			Name: d.config.OutputName, Format: d.config.OutputFormat, Timeout: max(d.started.Share.Linger.Duration(), time.Millisecond),
		})
		if err != nil {
			return err
		}
		d.pipe = pipe
	}
	var taken []int
	for _, p := range d.started.Ports {
		taken = append(taken, p.Cores...)
	}
	for i := range d.started.Ports {
		s := &d.started.Ports[i]
		if s.Mode == settings.Kernel {
			continue
		}
		others := slices.DeleteFunc(slices.Clone(taken), func(core int) bool { return slices.Contains(s.Cores, core) })
		p, err := d.openPort(s, others)
		if err != nil {
			return err
		}
		d.ports = append(d.ports, p)
		d.closers = append(d.closers, p.close)
		for _, core := range p.engine.Cores() {
			if core != capture.AnyCore {
				taken = append(taken, core)
			}
		}
	}
	return nil
}

// serveMetrics serves metrics where the settings have an address for them.
func (d *Daemon) serveMetrics() (err error) {
	address := d.started.Metrics.Listen
	if address == "" {
		return nil
	}
	var ports []metrics.Port
	for _, p := range d.ports {
		m := metrics.Port{Name: p.Label(), Device: p.Device, Engine: p.engine}
		if p.Stores() {
			m.Stored = p.recorder.Stats
		}
		ports = append(ports, m)
	}
	var retained func() retain.Stats
	if d.cleaner != nil {
		retained = d.cleaner.Stats
	}
	if d.metrics, err = metrics.Serve(address, metrics.New(ports, retained, func() uint64 { return asynclog.Dropped(d.log) })); err != nil {
		return err
	}
	d.closers = append(d.closers, d.metrics.Close)
	d.log.Info("metrics at http://" + d.metrics.Address() + "/metrics")
	return nil
}

// MetricsAddress is where metrics are served, as HOST:PORT; empty where they are
// not.
func (d *Daemon) MetricsAddress() string {
	if d.metrics == nil {
		return ""
	}
	return d.metrics.Address()
}

// Rotate begins new files on every port that stores. It may be called from any
// goroutine.
func (d *Daemon) Rotate() {
	for _, p := range d.ports {
		if p.Stores() {
			p.recorder.Rotate()
		}
	}
}

// Close closes everything in the reverse order of opening, and removes the
// sockets. Run must have returned. Further calls return the same error.
func (d *Daemon) Close() error {
	d.once.Do(func() {
		for _, closer := range slices.Backward(d.closers) {
			d.closeErr = errors.Join(d.closeErr, closer())
		}
		d.flushLog()
	})
	return d.closeErr
}

// folders are the folders that files are stored in, each once.
func folders(s *settings.Settings) (all []string) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if !p.Stores() {
			continue
		}
		for _, dir := range p.Storage.Dirs {
			if !slices.Contains(all, dir) {
				all = append(all, dir)
			}
		}
	}
	return all
}

// policy is the retention policy of settings.
func policy(s *settings.Settings) retain.Policy {
	r := s.Retention
	return retain.Policy{Size: int64(r.Size), Age: r.Age.Duration(), Free: int64(r.Free), Files: r.Files}
}
