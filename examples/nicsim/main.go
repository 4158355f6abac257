// Nicsim serves the ports of software 82599s, each on a UNIX socket of its own
// and to one client after the other: hpcapdd -device vfio-user:SOCKET, a QEMU
// guest, or anything else that speaks vfio-user. When it ends, and whenever it
// gets SIGUSR1, it prints what became of the wires' frames.
//
//	nicsim -socket /run/nic.sock -wire 'pcap=FILE,rate=line'
//	nicsim -socket A -wire packet=eth1 -socket B -wire gen,size=60
//	nicsim -socket A -socket B -wire pair
//
// QEMU must share the guest's memory with nicsim (a memory-backend-memfd with
// share=on): a register access of a vCPU holds the lock that DMA by message
// would need.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/examples/internal/cli"
)

const usage = `usage: nicsim -socket PATH -wire WIRE [-socket PATH -wire WIRE]... [-once] [-json]
       nicsim -socket PATH -socket PATH -wire pair [-once] [-json]

WIRE is what the port is plugged into: pcap=FILE,rate=line  gen,size=60
packet=IFACE  and more; see the documentation of package sim/wire. "pair" plugs
two ports into each other. The k-th wire belongs to the k-th socket. With it go
the port's own options: mac=02:00:00:00:00:01  sfp=sr|lr|da|sx|none  fault=NAME
and more; see sim.Open. SIGUSR1 prints the counters so far.
`

func main() { cli.Main("nicsim", run) }

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func run(args []string) (err error) {
	flags := flag.NewFlagSet("nicsim", flag.ContinueOnError)
	var sockets, wires list
	flags.Var(&sockets, "socket", "`path` of the socket to serve a port on")
	flags.Var(&wires, "wire", "what the port is plugged into: `key=value,...`")
	once := flags.Bool("once", false, "end when each port's first client has gone")
	asJSON := flags.Bool("json", false, "print the counters as JSON, an object for each port")
	if err := cli.Parse(flags, args, usage); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return cli.Usagef("unexpected argument %q", flags.Arg(0))
	}
	plugs, err := assign(sockets, wires)
	if err != nil {
		return err
	}
	ports, err := open(plugs)
	defer func() {
		for _, p := range ports {
			err = errors.Join(err, p.nic.Close())
		}
	}()
	if err != nil {
		return err
	}
	for _, p := range ports {
		if err := p.listen(); err != nil {
			return err
		}
		defer p.listener.Close()
	}

	ctx, cancel := context.WithCancel(cli.Interrupted("nicsim"))
	defer cancel()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGUSR1)
	results := make(chan error, len(ports))
	for _, p := range ports {
		p.say("serving on %s", p.socket)
		go func() { results <- p.serve(ctx, *once) }()
	}
	for left := len(ports); left > 0; {
		select {
		case <-asked:
			err = errors.Join(err, print(ports, *asJSON))
		case e := <-results:
			left--
			if e != nil {
				err = errors.Join(err, e)
				cancel() // one that cannot serve ends all
			}
		}
	}
	err = errors.Join(err, print(ports, *asJSON))
	for _, p := range ports {
		err = errors.Join(err, p.nic.Stats().Balanced())
	}
	return err
}
