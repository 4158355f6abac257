// Hpcapdd captures ports to files and prints what became of every frame.
//
// Package capture/daemon does the work; this program has flags, signals and output.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/examples/internal/cli"
	_ "github.com/ixcap/ixcap/pci/vfio"
	_ "github.com/ixcap/ixcap/pci/vfiouser"
	_ "github.com/ixcap/ixcap/sim"
)

func main() { cli.Main(command(run)) }

func run(o options, s *settings.Settings) (err error) {
	if o.check {
		return daemon.Check(os.Stdout, s)
	}
	cli.SetGCPercent()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGHUP)
	log := cli.Logger(cli.Stderr, "hpcapdd", o.verbose)
	cfg := daemon.Config{Duration: o.duration.Duration(), Count: o.count, Logger: log}
	stdout := true
	if o.output != "" {
		out, err := cli.Create(o.output, nil, false)
		if err != nil {
			return err
		}
		defer out.Close()
		// A capture that was told to end stores what it has, so it waits for a write to
		// standard output as daemon.Config says, not as cli.Output does.
		cfg.Output, cfg.OutputFormat, cfg.OutputName = out.File, o.outputFormat, o.output
		stdout = !cli.IsStdout(out.File)
	}
	if o.config != "" {
		cfg.Load = func() (*settings.Settings, error) { return settings.Load(o.config) }
	}
	bar := cli.Bar{W: cli.Stderr, Terminal: cli.IsTerminal(os.Stderr)}
	if bar.Terminal || o.progress {
		cfg.Progress = func(r capture.Rate) { bar.Print(r) }
	}
	d, err := daemon.Open(s, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	ended := make(chan struct{})
	var handling sync.WaitGroup
	handling.Go(func() { hangups(d, cfg.Load != nil, log, signals, ended) })
	err = d.Run(cli.Interrupted("hpcapdd", unix.SIGHUP))
	close(ended) // a SIGHUP from now on is ignored: what is left is to close and to print
	handling.Wait()
	bar.End()
	if err != nil {
		return err
	}
	all := d.Ledgers()
	for _, l := range all {
		if l.Err == nil {
			cli.WarnLate(log, l.Device, l.Ledger.Duration)
		}
		err = errors.Join(err, l.Err)
	}
	write := daemon.WriteText
	if o.json {
		write = daemon.WriteJSON
	}
	print := cli.Print
	if !stdout {
		print = cli.PrintStderr
	}
	if bad := print(func(w io.Writer) error { return write(w, all) }); bad != nil {
		err = errors.Join(err, fmt.Errorf("ledger: %v", bad)) // its reader has gone: that is no end in order
	}
	if err != nil || !o.failOnLoss {
		return err
	}
	var lost uint64
	for _, l := range all {
		lost += l.Ledger.TotalLost()
	}
	if lost > 0 {
		return cli.LossError{Frames: lost}
	}
	return nil
}

// hangups reloads the settings and rotates the files at each SIGHUP, until ended is
// closed.
func hangups(d *daemon.Daemon, reload bool, log *slog.Logger, signals <-chan os.Signal, ended <-chan struct{}) {
	for {
		select {
		case <-signals:
		case <-ended:
			return
		}
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
