//go:build vmtest

package vmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// peer is a network namespace on the host with one interface, eth0, whose other end is
// the wire of a model's port. Namespace and interfaces are removed with this process.
type peer struct {
	Wire string // the interface for a wire: packet=Wire
	ns   netns.NsHandle
}

var peers atomic.Int64

// newPeer creates a peer whose interface is up, with addresses ("192.0.2.1/24") and MTU
// (0: 1500).
func newPeer(t *testing.T, mtu int, addresses ...string) *peer {
	t.Helper()
	if mtu == 0 {
		mtu = 1500
	}
	// The name of an interface has at most 15 bytes.
	p := &peer{Wire: fmt.Sprintf("ixv%d.%d", os.Getpid(), peers.Add(1)), ns: -1}
	created := make(chan error)
	go func() {
		runtime.LockOSThread() // not unlocked: the thread stays in another namespace
		created <- p.create(mtu, addresses)
	}()
	if err := <-created; err != nil {
		t.Fatalf("create a network namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := p.ns.Close(); err != nil {
			t.Errorf("close the network namespace: %v", err)
		}
	})
	return p
}

func (p *peer) create(mtu int, addresses []string) (err error) {
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	if p.ns, err = netns.New(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			p.ns.Close()
		}
	}()
	there, err := netlink.NewHandleAt(home)
	if err != nil {
		return err
	}
	defer there.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = p.Wire, mtu
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.ns)}
	if err := there.LinkAdd(veth); err != nil {
		return fmt.Errorf("add %s: %w", p.Wire, err)
	}
	// The host itself must not send frames on the wire. It would answer ARP requests for
	// the VM's address if that is one of its own: Linux answers on every interface for all
	// its addresses (ip-sysctl, arp_ignore).
	quiet(home, p.Wire)
	if err := there.LinkSetARPOff(veth); err != nil {
		return fmt.Errorf("set %s arp off: %w", p.Wire, err)
	}
	if err := there.LinkSetUp(veth); err != nil {
		return fmt.Errorf("set %s up: %w", p.Wire, err)
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, l := range []netlink.Link{lo, eth0} {
		if err := errors.Join(netlink.LinkSetMTU(eth0, mtu), netlink.LinkSetUp(l)); err != nil {
			return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
		}
	}
	for _, a := range addresses {
		addr, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(eth0, addr); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return nil
}

// quiet disables IPv6 of the host on the model's end of the wire.
func quiet(home netns.NsHandle, name string) {
	here, err := netns.Get()
	if err != nil {
		return
	}
	defer here.Close()
	if netns.Set(home) != nil {
		return
	}
	// A host without IPv6 has no such file.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	_ = netns.Set(here)
}

// enter moves the calling thread into a namespace.
func enter(ns int) error {
	if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace: %w", err)
	}
	return nil
}

// run runs a shell command in the namespace; a failure fails the test.
func (p *peer) run(t *testing.T, command string) string {
	t.Helper()
	out, err := p.try(command)
	if err != nil {
		t.Fatalf("on the peer: %s: %v\n%s", command, err, out)
	}
	return out
}

// try is run without failing the test.
func (p *peer) try(command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandDeadline)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) } // the shell's children too
	c, err := startChild("sh", cmd, int(p.ns))
	if err != nil {
		return "", err
	}
	<-c.done
	if ctx.Err() != nil {
		return out.String(), fmt.Errorf("not done after %v", commandDeadline)
	}
	return out.String(), c.err
}

// do calls f on a thread in the namespace. Sockets that f opens stay in it.
func (p *peer) do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := enter(int(p.ns)); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("on the peer: %v", err)
		}
	case <-time.After(commandDeadline):
		t.Fatalf("on the peer: not done after %v", commandDeadline)
	}
}
