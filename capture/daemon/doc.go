// Package daemon captures several ports as one service: hpcapdd without its
// command line.
//
//	                 ┌─ port: Engine ─ Recorder ─► files ─┐
//	settings ─ Open ─┤  port: Engine ─ Recorder ─► files ─┼─► retention, recovery of earlier runs
//	                 └─ ...                               ┘
//	                        │ read by
//	                        ├─► control (UNIX socket), a socket for each queue
//	                        ├─► metrics (HTTP), hpcapmon (a line a second)
//	                        └─► service manager: ready, reloading, stopping
//
// The caller owns flags, signals and output:
//
//	d, err := daemon.Open(settings, daemon.Config{Logger: logger, Load: load})
//	err = d.Run(ctx)        // d.Reload and d.Rotate from another goroutine
//	ledgers := d.Ledgers()
//	err = d.Close()
//
// Which devices can be opened depends on the transports that the program imports
// (pci/vfio, pci/vfiouser, sim).
package daemon
