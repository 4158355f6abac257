package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/examples/internal/cli"
	"github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/server"
	"github.com/ixcap/ixcap/sim/wire"
)

// portConfig describes a port.
type portConfig struct {
	socket  string
	options []wire.Option
	end     wire.Wire // end of a pair, nil for others
}

// assign assigns the wires to the sockets.
func assign(sockets, wires []string) ([]portConfig, error) {
	switch {
	case len(sockets) == 0:
		return nil, cli.Usagef("no socket: give its path with --socket")
	case len(wires) == 0:
		return nil, cli.Usagef("no wire: give it with --wire")
	}
	configs := make([]portConfig, len(sockets))
	for i, s := range sockets {
		configs[i].socket = s
	}
	next := 0
	for _, w := range wires {
		options, err := wire.ParseOptions(w)
		if err != nil {
			return nil, cli.UsageError{Err: err}
		}
		pair, options := wire.SplitOptions(options, "pair")
		if len(pair) > 0 && pair[0].Value != "" {
			return nil, cli.Usagef("wire option %q: pair takes no value", pair[0].String())
		}
		need := 1 + len(pair)
		if next+need > len(configs) {
			return nil, cli.Usagef("%d sockets are too few: each wire takes one, pair two", len(sockets))
		}
		configs[next].options = options
		if need == 2 {
			configs[next+1].options = second(options)
			configs[next].end, configs[next+1].end = wire.NewPair()
		}
		next += need
	}
	if next < len(configs) {
		return nil, cli.Usagef("%d sockets and wires for %d: each socket takes one wire, pair serves two", len(configs), next)
	}
	return configs, nil
}

// second returns the options of a pair's second port: those of the first, with the next
// station address, and an oscillator that is wrong by as much in the other direction.
func second(options []wire.Option) (next []wire.Option) {
	for _, o := range options {
		if mac, err := net.ParseMAC(o.Value); o.Key == "mac" && err == nil {
			mac[len(mac)-1]++
			o.Value = mac.String()
		}
		if ppm, err := strconv.Atoi(o.Value); o.Key == "clock" && err == nil {
			o.Value = strconv.Itoa(-ppm)
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
	virtual  []*net.UnixListener // of the virtual functions
	logger   *slog.Logger
	single   bool // there are no other ports
}

// open creates the ports. On an error it also returns those created before.
func open(configs []portConfig) (ports []*port, err error) {
	for i, g := range configs {
		p := &port{index: i, socket: g.socket, single: len(configs) == 1}
		p.logger = slog.New(logHandler{cli.Stderr, p.printf})
		if p.nic, err = p.newNIC(g); err != nil {
			return ports, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func (p *port) newNIC(g portConfig) (*sim.NIC, error) {
	cfg, rest, err := sim.ParseConfig(g.options)
	if err != nil {
		return nil, cli.UsageError{Err: err}
	}
	w := g.end
	switch {
	case w == nil:
		if w, err = sim.ParseWire(rest); err != nil {
			return nil, cli.WireError(rest, err)
		}
	case len(rest) > 0:
		return nil, cli.Usagef("wire option %q: pair takes only those of the ports", rest[0].String())
	}
	cfg.Logger = p.logger
	nic, err := sim.New(cfg, w)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	for _, text := range nic.Notices() {
		p.printf("%s", text)
	}
	return nic, nil
}

// printf prints a line to standard error, with the port's index if there are several.
func (p *port) printf(format string, args ...any) {
	name := "nicsim: "
	if !p.single {
		name += fmt.Sprintf("port %d: ", p.index)
	}
	fmt.Fprintf(cli.Stderr, name+format+"\n", args...)
}

// listen listens for clients of the port and of its virtual functions.
func (p *port) listen() (err error) {
	if p.listener, err = cli.Listen(p.socket); err != nil {
		return err
	}
	for i := range p.nic.VFs() {
		l, err := cli.Listen(p.virtualSocket(i))
		if err != nil {
			p.unlisten()
			return err
		}
		p.virtual = append(p.virtual, l)
	}
	return nil
}

func (p *port) unlisten() {
	_ = p.listener.Close()
	for _, l := range p.virtual {
		_ = l.Close()
	}
}

// virtualSocket is the path of virtual function i's socket.
func (p *port) virtualSocket(i int) string { return fmt.Sprintf("%s.vf%d", p.socket, i) }

// serve serves clients until ctx is done or, with once, the first one disconnects.
func (p *port) serve(ctx context.Context, once bool) error {
	s := server.New(p.nic)
	s.Logger = p.logger
	served := make(chan error, 1)
	for i, l := range p.virtual {
		v := server.New(p.nic.VF(i))
		v.Logger = p.logger
		p.printf("virtual function %d on %s", i, p.virtualSocket(i))
		go func() { _ = v.Serve(l) }() // its errors are logged; it ends by Close
		defer v.Close()
	}
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
			p.printf("the wire has ended")
			ended = nil
		case <-ctx.Done():
			return s.Close()
		case err := <-served:
			return err
		}
	}
}

// counters is what --json prints of a port.
type counters struct {
	Port   int    `json:"port"`
	Socket string `json:"socket"`
	MAC    string `json:"mac"`
	sim.Stats
}

// print prints the counters of each port.
func print(w io.Writer, ports []*port, asJSON bool) error {
	for _, p := range ports {
		s := p.nic.Stats()
		if asJSON {
			line, err := json.Marshal(counters{p.index, p.socket, p.nic.MAC().String(), s})
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(w, "%s\n", line); err != nil {
				return err
			}
			continue
		}
		if !p.single {
			fmt.Fprintf(w, "port %d (%v on %s)\n", p.index, p.nic.MAC(), p.socket)
		}
		if err := writeText(w, s); err != nil {
			return err
		}
	}
	return nil
}

func writeText(w io.Writer, s sim.Stats) error {
	var b strings.Builder
	for _, line := range []struct {
		frames uint64
		what   string
	}{
		{s.Offered, fmt.Sprintf("offered by the wire, %d bytes", s.OfferedBytes)},
		{s.Delivered, "delivered to the client"},
		{s.Missed, "missed: packet buffer full"},
		{s.NoDescriptor + s.QueueDisabled, "dropped: no descriptor, or queue disabled"},
		{s.BadCRC + s.Oversize + s.Filtered + s.Control, "rejected: bad CRC, oversize, filtered or MAC control"},
		{s.NotReceiving + s.Flushed + s.Removed + s.Buffered + s.Unwritten, "other: reception off, reset, removed, buffered or unmapped buffer"},
		{s.Sent, "sent"},
	} {
		fmt.Fprintf(&b, "%12d  frames  %s\n", line.frames, line.what)
	}
	if s.Faults > 0 {
		fmt.Fprintf(&b, "%12d  faults  last: %s\n", s.Faults, s.LastFault)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
