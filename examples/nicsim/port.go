package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

// plug is what one port is to be.
type plug struct {
	socket  string
	options []wire.Option
	end     wire.Wire // of a pair, nil otherwise
}

// assign gives each socket its wire.
func assign(sockets, wires []string) ([]plug, error) {
	switch {
	case len(sockets) == 0:
		return nil, cli.Usagef("no socket: name its path with --socket")
	case len(wires) == 0:
		return nil, cli.Usagef("no wire: say what the port is connected to with --wire")
	}
	plugs := make([]plug, len(sockets))
	for i, s := range sockets {
		plugs[i].socket = s
	}
	next := 0
	for _, w := range wires {
		options, err := wire.ParseOptions(w)
		if err != nil {
			return nil, err
		}
		pair, options := wire.Take(options, "pair")
		if len(pair) > 0 && pair[0].Value != "" {
			return nil, cli.Usagef("wire option %q: pair takes no value", pair[0].String())
		}
		need := 1 + len(pair)
		if next+need > len(plugs) {
			return nil, cli.Usagef("%d sockets are too few: each wire takes one, pair two", len(sockets))
		}
		plugs[next].options = options
		if need == 2 {
			plugs[next+1].options = second(options)
			plugs[next].end, plugs[next+1].end = wire.NewPair()
		}
		next += need
	}
	if next < len(plugs) {
		return nil, cli.Usagef("%d sockets and wires for %d: each socket takes one wire, pair serves two", len(plugs), next)
	}
	return plugs, nil
}

// second makes the options of a pair's second port: those of the first, with the
// next station address.
func second(options []wire.Option) (next []wire.Option) {
	for _, o := range options {
		if mac, err := net.ParseMAC(o.Value); o.Key == "mac" && err == nil {
			mac[len(mac)-1]++
			o.Value = mac.String()
		}
		next = append(next, o)
	}
	return next
}

// port is one port with its socket.
type port struct {
	index    int
	socket   string
	nic      *sim.NIC
	listener *net.UnixListener
	logger   *slog.Logger
	alone    bool // there are no other ports
}

// open makes the ports. Those made before one failed are returned as well.
func open(plugs []plug) (ports []*port, err error) {
	for i, g := range plugs {
		p := &port{index: i, socket: g.socket, alone: len(plugs) == 1}
		p.logger = slog.New(newLogHandler(p.say))
		if p.nic, err = p.plugIn(g); err != nil {
			return ports, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func (p *port) plugIn(g plug) (*sim.NIC, error) {
	cfg, rest, err := sim.ParseConfig(g.options)
	if err != nil {
		return nil, err
	}
	w := g.end
	switch {
	case w == nil:
		if w, err = wire.Parse(rest); err != nil {
			return nil, err
		}
	case len(rest) > 0:
		return nil, cli.Usagef("wire option %q: pair takes only those of the ports", rest[0].String())
	}
	cfg.Logger = p.logger
	nic, err := sim.New(cfg, w)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return nic, nil
}

// say prints a line about the port.
func (p *port) say(format string, args ...any) {
	name := "nicsim: "
	if !p.alone {
		name += fmt.Sprintf("port %d: ", p.index)
	}
	fmt.Fprintf(os.Stderr, name+format+"\n", args...)
}

func (p *port) listen() (err error) {
	p.listener, err = cli.Listen(p.socket)
	return err
}

// serve serves clients until ctx ends or, with once, the first one has gone.
func (p *port) serve(ctx context.Context, once bool) error {
	s := server.New(p.nic)
	s.Logger = p.logger
	served := make(chan error, 1)
	go func() {
		if !once {
			served <- s.Serve(p.listener)
			return
		}
		c, err := p.listener.AcceptUnix()
		if err == nil {
			err = s.ServeConn(c)
		}
		served <- err
	}()
	ended := p.nic.Ended()
	for {
		select {
		case <-ended:
			p.say("the wire has ended")
			ended = nil
		case <-ctx.Done():
			return s.Close()
		case err := <-served:
			return err
		}
	}
}

// print shows what became of each port's frames.
func print(ports []*port, asJSON bool) error {
	for _, p := range ports {
		s := p.nic.Stats()
		if asJSON {
			line, err := json.Marshal(struct {
				Port   int    `json:"port"`
				Socket string `json:"socket"`
				MAC    string `json:"mac"`
				sim.Stats
			}{p.index, p.socket, p.nic.MAC().String(), s})
			if err != nil {
				return err
			}
			if _, err := fmt.Printf("%s\n", line); err != nil {
				return err
			}
			continue
		}
		head := ""
		if !p.alone {
			head = fmt.Sprintf("port %d (%v on %s): ", p.index, p.nic.MAC(), p.socket)
		}
		_, err := fmt.Printf("%s%d frames on the wire, %d bytes\n  %d delivered\n  %d missed (no room in the packet buffer)\n"+
			"  %d dropped (no descriptor or queue disabled)\n  %d bad or filtered\n  %d otherwise\n%d frames sent\n", head,
			s.Offered, s.OfferedBytes, s.Delivered, s.Missed, s.NoDescriptor+s.QueueDisabled,
			s.BadCRC+s.Oversize+s.Filtered+s.Control, s.NotReceiving+s.Flushed+s.Removed+s.Buffered+s.Unwritten, s.Sent)
		if err != nil {
			return err
		}
		if s.Faults > 0 {
			if _, err := fmt.Printf("  %d faults, among them: %s\n", s.Faults, s.LastFault); err != nil {
				return err
			}
		}
	}
	return nil
}
