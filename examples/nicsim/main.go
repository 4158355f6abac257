// Nicsim serves the ports of software 82599s over vfio-user.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

func main() { cli.Main(command()) }

// options are the command line.
type options struct {
	sockets, wires []string
	once, json     bool
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "nicsim [flags] --socket PATH --wire WIRE ...",
		Short: "Serve software 82599s over vfio-user",
		Long: `Serve the ports of software 82599s over vfio-user, each on its own UNIX socket and to
one client after the other: hpcapdd -i vfio-user:SOCKET, a QEMU VM, or any other
vfio-user client. At the end and on SIGUSR1 it prints what became of the frames.

WIRE is what the port is connected to, with its options and those of the port, separated
by commas: pcap=FILE,rate=line,mac=02:00:00:00:00:01. "pair" connects two ports to each
other. The k-th wire belongs to the k-th socket. With vfs=N the port has N virtual
functions, each on a socket of its own: SOCKET.vf0, SOCKET.vf1, ... A VM that gets only
these shares the port with others.

QEMU must share the memory of the VM with nicsim (memory-backend-memfd, share=on): a
register access of a vCPU holds the lock that DMA by message needs.

Wires, with "-i sim:WIRE" of hpcapdd, too:

` + indent(wire.Usage) + `
Options of the port, behind those of the wire:

` + indent(sim.Usage),
		Example: `  nicsim --socket /run/nic.sock --wire 'pcap=capture.pcap,rate=line'
  nicsim --socket A --wire packet=eth1 --socket B --wire gen,size=60
  nicsim --socket A --socket B --wire pair
  nicsim --socket A --wire packet=eth1,vfs=2`,
		Args: cli.NoOperands,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cli.NotEmpty(cmd); err != nil {
				return err
			}
			return run(o)
		},
	}
	cli.Group(cmd, "Ports", func(flags *pflag.FlagSet) {
		flags.StringArrayVar(&o.sockets, "socket", nil, "serve a port on the socket at this `path`; may be repeated")
		flags.StringArrayVar(&o.wires, "wire", nil, "connect the port to this `wire`; may be repeated")
		flags.BoolVar(&o.once, "once", false, "end when the first client of each port disconnects")
	})
	cli.Group(cmd, "Output", func(flags *pflag.FlagSet) {
		flags.BoolVar(&o.json, "json", false, "print the counters as JSON, one object for each port")
	})
	return cmd
}

// indent indents lines by two spaces.
func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

func run(o options) (err error) {
	configs, err := assign(o.sockets, o.wires)
	if err != nil {
		return err
	}
	ports, err := open(configs)
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
		defer p.unlisten()
	}

	ctx, cancel := context.WithCancel(cli.Interrupted("nicsim"))
	defer cancel()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGUSR1)
	results := make(chan error, len(ports))
	for _, p := range ports {
		p.printf("serving on %s", p.socket)
		go func() { results <- p.serve(ctx, o.once) }()
	}
	printAll := func() error { return cli.Print(func(w io.Writer) error { return print(w, ports, o.json) }) }
	for left := len(ports); left > 0; {
		select {
		case <-asked:
			err = errors.Join(err, printAll())
		case e := <-results:
			left--
			if e != nil {
				err = errors.Join(err, e)
				cancel() // one that fails ends all
			}
		}
	}
	err = errors.Join(err, printAll())
	for _, p := range ports {
		err = errors.Join(err, p.nic.Stats().Balanced())
	}
	return err
}
