package portstat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/control"
	"github.com/ixcap/ixcap/capture/internal/netif"
	"github.com/ixcap/ixcap/pci"
)

// Source is where the counters of ports are read.
type Source interface {
	Read(ctx context.Context) ([]control.Counters, error)
	Close()
}

// Open returns the source of what a word names: a folder with the sockets of a capture
// (hpcapdd --share DIR), its control socket, or a port by its device or interface. A port
// that a capture in one of the folders places has is read there, else an interface with a
// driver of the kernel from the driver. An empty word is the first of the places with a
// capture. port selects one of several ports of a capture; empty: all.
func Open(ctx context.Context, word, port string, places []string) (Source, error) {
	if word == "" {
		for _, dir := range places {
			if _, err := os.Stat(socketIn(dir)); err == nil {
				return newCaptured(socketIn(dir), port), nil
			}
		}
		return nil, fmt.Errorf("no capture is served in %s: name its folder, or an interface", strings.Join(places, " or "))
	}
	switch info, err := os.Stat(word); {
	case err == nil && info.IsDir():
		return newCaptured(socketIn(word), port), nil
	case err == nil && info.Mode()&os.ModeSocket != 0:
		return newCaptured(word, port), nil
	}
	if c := owner(ctx, word, places); c != nil {
		return c, nil
	}
	if _, err := net.InterfaceByName(word); err == nil {
		return kernel(word), nil
	}
	if f, err := pci.Resolve(word); err == nil && strings.Contains(f.Driver, "vfio") {
		return nil, fmt.Errorf("counters of %s: it is bound to %s, and no capture of it is served in %s. Opening the port would reset its counters: start a capture (hpcapdd -i %s --share DIR) and name DIR", word, f.Driver, strings.Join(places, " or "), word)
	}
	return nil, fmt.Errorf("%q: no folder or control socket of a capture, no port of one in %s, and no interface. `ip link` lists interfaces", word, strings.Join(places, " or "))
}

// socketIn is the control socket in a capture's folder.
func socketIn(dir string) string { return filepath.Join(dir, "control.sock") }

// captured are the ports of a running capture.
type captured struct {
	client *control.Client
	port   string // empty: all
}

func newCaptured(socket, port string) *captured {
	return &captured{client: control.NewClient(socket), port: port}
}

// owner returns the capture in one of the places that has the device, nil if none has.
func owner(ctx context.Context, device string, places []string) *captured {
	for _, dir := range places {
		if _, err := os.Stat(socketIn(dir)); err != nil {
			continue
		}
		c := newCaptured(socketIn(dir), "")
		there, err := c.client.Ports(ctx)
		if err == nil {
			for _, p := range there.Ports {
				if p.Device == device || p.Name == device {
					c.port = p.Name
					return c
				}
			}
		}
		c.Close()
	}
	return nil
}

// Read implements Source.
func (c *captured) Read(ctx context.Context) ([]control.Counters, error) {
	names := []string{c.port}
	if c.port == "" {
		there, err := c.client.Ports(ctx)
		if err != nil {
			return nil, err
		}
		names = names[:0]
		for _, p := range there.Ports {
			names = append(names, p.Name)
		}
	}
	var all []control.Counters
	for _, name := range names {
		of := c.client
		if name != "" {
			of = of.Port(name)
		}
		one, err := of.Counters(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// Close implements Source.
func (c *captured) Close() { c.client.Close() }

// kernel is an interface whose driver of the kernel counts.
type kernel string

// Read implements Source.
func (k kernel) Read(context.Context) ([]control.Counters, error) {
	list, err := netif.Statistics(string(k))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("counters of %s: its driver has none", string(k))
	}
	if err != nil {
		return nil, err
	}
	one := control.Counters{Port: string(k), At: time.Now()}
	for _, s := range list {
		one.Counters = append(one.Counters, capture.Counter{Name: s.Name, Value: s.Value})
	}
	return []control.Counters{one}, nil
}

// Close implements Source.
func (k kernel) Close() {}
