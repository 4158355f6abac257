// Hpcapdd captures what ports receive to files, until the wire ends, the time is
// up, or SIGINT or SIGTERM; then it prints where every frame went.
//
//	hpcapdd -device URI [-queue N] -dir DIR|null [-share DIR] [-filter RULES] [-duration D] [-json] [flags]
//	hpcapdd [flags] IFACE QUEUE DIR|null
//	hpcapdd [-check] -config ixcap.toml
//
// A file is named after its first frame's time, port and queue, so that names
// sort as the files were captured, and ends in .part while it is written. RAW files
// have exactly the size of a segment but where a new one was begun early: at a
// full period (-rotate), at SIGHUP or hpcapctl rotate, and at the end.
//
// With -share other programs read the frames while they are captured (stream.Attach,
// or examples/creader), and hpcapctl shows and changes the capture. At the end they
// get what is left, as long as they go on reading.
//
// Package capture/daemon does the work; here are flags, signals and output.
package main

import (
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/pci/vfio"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	_ "github.com/ixcap/ixcap/sim"
)

func main() { cli.Main("hpcapdd", run) }

func run(args []string) (err error) {
	o, s, err := parse(args)
	if err != nil {
		return err
	}
	if o.check {
		return daemon.Check(os.Stdout, s)
	}
	cli.Processors(pollers(s))
	cli.Collector()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP)
	log := cli.Logger(os.Stderr, "hpcapdd")
	cfg := daemon.Config{Duration: o.duration, Logger: log}
	if o.config != "" {
		cfg.Load = func() (*settings.Settings, error) { return settings.Load(o.config) }
	}
	bar := cli.Bar{W: os.Stderr, Terminal: cli.IsTerminal(os.Stderr)}
	if bar.Terminal || o.progress {
		cfg.Progress = func(r capture.Rate) { bar.Print(r) }
	}
	d, err := daemon.Open(s, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	var handling sync.WaitGroup
	handling.Go(func() { hangups(d, cfg.Load != nil, log, signals) })
	err = d.Run(cli.Interrupted("hpcapdd"))
	signal.Stop(signals)
	close(signals)
	handling.Wait()
	bar.End()
	if err != nil {
		return err
	}
	all := d.Ledgers()
	for _, l := range all {
		if l.Err == nil {
			cli.WarnLate(os.Stderr, l.Device, time.Duration(l.Ledger.Seconds*float64(time.Second)))
		}
		err = errors.Join(err, l.Err)
	}
	if o.asJSON {
		return errors.Join(err, daemon.WriteJSON(os.Stdout, all))
	}
	return errors.Join(err, daemon.WriteText(os.Stdout, all))
}

// pollers is the number of polling threads that settings ask for.
func pollers(s *settings.Settings) (n int) {
	for _, p := range s.Ports {
		if p.Mode != settings.Kernel {
			n += p.Queues
		}
	}
	return n
}

// hangups reloads the settings and rotates the files at each SIGHUP, until signals
// is closed.
func hangups(d *daemon.Daemon, reload bool, log *slog.Logger, signals <-chan os.Signal) {
	for range signals {
		if reload {
			if err := d.Reload(); err != nil {
				for _, line := range cli.Lines(err) {
					log.Error("reload: " + line)
				}
				log.Error("reload: nothing has changed: correct that and send SIGHUP again")
			}
		}
		d.Rotate()
		log.Info("SIGHUP: new files begin with the next frames")
	}
}
