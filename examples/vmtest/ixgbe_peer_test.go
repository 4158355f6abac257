//go:build vmtest

package vmtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// Traffic of the peer: sockets of this process in the peer's namespace.

// transferDeadline is the time limit of 100 MB through an IOMMU that maps page by page, on
// a busy host.
const transferDeadline = 5 * time.Minute

// randomFile writes a file of random bytes and returns its name and SHA-256.
func randomFile(t *testing.T, dir string, size int64) (name, sum string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "random")
	must(t, err)
	defer f.Close()
	t.Cleanup(func() { os.Remove(f.Name()) })
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), rand.Reader, size)
	must(t, err)
	must(t, f.Chmod(0o644))
	return f.Name(), hex.EncodeToString(h.Sum(nil))
}

func (p *peer) listen(t *testing.T, address string) net.Listener {
	t.Helper()
	var l net.Listener
	p.do(t, func() (err error) {
		l, err = net.Listen("tcp4", address+":0")
		return err
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func portOf(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// sink accepts one connection and hashes its data.
type sink struct {
	port int
	done chan error
	n    int64
	sum  string
}

func (p *peer) sink(t *testing.T, address string) *sink {
	t.Helper()
	l := p.listen(t, address)
	s := &sink{port: portOf(l), done: make(chan error, 1)}
	go func() {
		c, err := l.Accept()
		if err != nil {
			s.done <- err
			return
		}
		defer c.Close()
		h := sha256.New()
		s.n, err = io.Copy(h, c)
		s.sum = hex.EncodeToString(h.Sum(nil))
		s.done <- err
	}()
	return s
}

// wait returns the SHA-256 of the data after the end of the connection.
func (s *sink) wait(t *testing.T, size int64) string {
	t.Helper()
	select {
	case err := <-s.done:
		must(t, err)
	case <-time.After(transferDeadline):
		t.Fatalf("the peer did not receive all within %v", transferDeadline)
	}
	if s.n != size {
		t.Fatalf("the peer received %d bytes, want %d", s.n, size)
	}
	return s.sum
}

// source sends the file over the first connection to the port.
func (p *peer) source(t *testing.T, address, file string) (port int) {
	t.Helper()
	l := p.listen(t, address)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return // the test is over
		}
		defer c.Close()
		f, err := os.Open(filepath.Clean(file))
		if err != nil {
			return
		}
		defer f.Close()
		_, _ = io.Copy(c, f) // the receiver compares
	}()
	return portOf(l)
}

// dial connects from the peer.
func (p *peer) dial(t *testing.T, address string) (c net.Conn, err error) {
	t.Helper()
	p.do(t, func() error {
		c, err = net.DialTimeout("tcp4", address, 10*time.Second)
		return nil
	})
	return c, err
}

func (p *peer) dialUDP(t *testing.T, address string) (c net.Conn, err error) {
	t.Helper()
	p.do(t, func() error {
		c, err = net.Dial("udp4", address)
		return nil
	})
	return c, err
}

// background sends a datagram every few milliseconds until stop is called.
func (p *peer) background(t *testing.T, address string) (stop func()) {
	t.Helper()
	c, err := p.dialUDP(t, address)
	must(t, err)
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer c.Close()
		for {
			select {
			case <-end:
				return
			case <-time.After(5 * time.Millisecond):
				_, _ = c.Write([]byte("noise")) // an error if the port is closed
			}
		}
	}()
	return func() { close(end); <-done }
}

// neighbour adds a neighbour entry for a station that does not exist.
func (p *peer) neighbour(t *testing.T, address, mac string) {
	t.Helper()
	p.do(t, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		hw, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(address), HardwareAddr: hw})
	})
}

// snmpCounter finds a counter in /proc/net/snmp: a line of names, one of values.
func snmpCounter(t *testing.T, snmp, protocol, name string) int {
	t.Helper()
	var lines [][]string
	for line := range strings.Lines(snmp) {
		if strings.HasPrefix(line, protocol+":") {
			lines = append(lines, strings.Fields(line))
		}
	}
	if len(lines) == 2 {
		if i := slices.Index(lines[0], name); i > 0 && i < len(lines[1]) {
			n, err := strconv.Atoi(lines[1][i])
			must(t, err)
			return n
		}
	}
	t.Fatal(fmt.Errorf("no %s of %s in /proc/net/snmp:\n%s", name, protocol, snmp))
	return 0
}
