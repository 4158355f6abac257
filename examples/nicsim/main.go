// Nicsim serves the software 82599 on a UNIX socket, to one client after the
// other: hpcapdd -device vfio-user:SOCKET, a QEMU guest, or anything else that
// speaks vfio-user. When it ends it prints what became of the wire's frames.
//
//	nicsim -socket /run/nic.sock -wire 'pcap=FILE,rate=line'
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

const usage = `usage: nicsim -socket PATH -wire WIRE [-once] [-json]

WIRE is what the port is plugged into: pcap=FILE,rate=line  gen,size=60
packet=IFACE  and more; see the documentation of package sim/wire.
`

func main() { cli.Main("nicsim", run) }

func run(args []string) (err error) {
	flags := flag.NewFlagSet("nicsim", flag.ContinueOnError)
	socket := flags.String("socket", "", "`path` of the socket to serve on")
	plug := flags.String("wire", "", "what the port is plugged into: `key=value,...`")
	once := flags.Bool("once", false, "end when the first client has gone")
	asJSON := flags.Bool("json", false, "print the counters as JSON")
	if err := cli.Parse(flags, args, usage); err != nil {
		return err
	}
	switch {
	case flags.NArg() > 0:
		return cli.Usagef("unexpected argument %q", flags.Arg(0))
	case *socket == "":
		return cli.Usagef("no socket: name its path with -socket")
	case *plug == "":
		return cli.Usagef("no wire: say what the port is plugged into with -wire")
	}
	nic, err := plugIn(*plug)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nic.Close()) }()

	l, err := cli.Listen(*socket)
	if err != nil {
		return err
	}
	defer l.Close()

	s := server.New(nic)
	s.Report = func(err error) { fmt.Fprintln(os.Stderr, "nicsim:", err) }
	served := make(chan error, 1)
	go func() {
		if !*once {
			served <- s.Serve(l)
			return
		}
		c, err := l.AcceptUnix()
		if err == nil {
			err = s.ServeConn(c)
		}
		served <- err
	}()
	fmt.Fprintf(os.Stderr, "nicsim: serving on %s\n", *socket)

	ctx := cli.Interrupted("nicsim")
	ended := nic.Ended()
	for over := false; !over; {
		select {
		case <-ended:
			fmt.Fprintln(os.Stderr, "nicsim: the wire has ended")
			ended = nil
		case <-ctx.Done():
			err = s.Close()
			over = true
		case err = <-served:
			over = true
		}
	}
	truth := nic.Stats()
	return errors.Join(err, print(truth, *asJSON), truth.Balanced())
}

// plugIn makes a NIC with the wire that options describe.
func plugIn(options string) (*sim.NIC, error) {
	parsed, err := wire.ParseOptions(options)
	if err != nil {
		return nil, err
	}
	w, err := wire.Parse(parsed)
	if err != nil {
		return nil, err
	}
	nic, err := sim.New(sim.Config{}, w)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return nic, nil
}

func print(s sim.Stats, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	_, err := fmt.Printf("%d frames on the wire, %d bytes\n  %d delivered\n  %d missed (no room in the packet buffer)\n"+
		"  %d dropped (no descriptor or queue disabled)\n  %d bad or filtered\n  %d otherwise\n%d frames sent\n",
		s.Offered, s.OfferedBytes, s.Delivered, s.Missed, s.NoDescriptor+s.QueueDisabled,
		s.BadCRC+s.Oversize+s.Filtered+s.Control, s.NotReceiving+s.Flushed+s.Gone+s.Buffered+s.Unwritten, s.Sent)
	return err
}
