package wire

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// host is a network namespace.
type host struct {
	t    *testing.T
	ns   netns.NsHandle
	vlan bool // the kernel has 802.1Q interfaces
}

func newHost(t *testing.T) *host {
	h := &host{t: t}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var err error
		h.ns, err = netns.New()
		done <- err
	}()
	require.NoError(t, <-done)
	t.Cleanup(func() { h.ns.Close() })
	return h
}

// do runs f inside the namespace.
func (h *host) do(f func() error) {
	h.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(h.ns); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	require.NoError(h.t, <-done)
}

// twoHosts are joined by a cable: veth "cable" in each, 192.0.2.1 and .2,
// 2001:db8::1 and ::2, and VLAN 5 on top with 198.51.100.1 and .2.
func twoHosts(t *testing.T) (a, b *host) {
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root: run the tests with sudo")
	}
	a, b = newHost(t), newHost(t)
	a.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "cable"
		v := &netlink.Veth{LinkAttrs: attrs, PeerName: "cable", PeerNamespace: netlink.NsFd(b.ns)}
		return netlink.LinkAdd(v)
	})
	for i, h := range []*host{a, b} {
		h.do(func() error {
			set := func(name string, addresses ...string) error {
				l, err := netlink.LinkByName(name)
				if err != nil {
					return err
				}
				for _, s := range addresses {
					addr, err := netlink.ParseAddr(s)
					if err != nil {
						return err
					}
					addr.Flags = unix.IFA_F_NODAD
					if err := netlink.AddrAdd(l, addr); err != nil {
						return err
					}
				}
				return netlink.LinkSetUp(l)
			}
			if err := set("lo"); err != nil {
				return err
			}
			if err := set("cable", fmt.Sprintf("192.0.2.%d/24", i+1), fmt.Sprintf("2001:db8::%d/64", i+1)); err != nil {
				return err
			}
			l, err := netlink.LinkByName("cable")
			if err != nil {
				return err
			}
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.ParentIndex = "vlan5", l.Attrs().Index
			err = netlink.LinkAdd(&netlink.Vlan{LinkAttrs: attrs, VlanId: 5})
			if errors.Is(err, unix.EOPNOTSUPP) {
				return nil
			} else if err != nil {
				return err
			}
			h.vlan = true
			return set("vlan5", fmt.Sprintf("198.51.100.%d/24", i+1))
		})
	}
	return a, b
}

func (h *host) wire(options ...Option) *packet {
	h.t.Helper()
	var w Wire
	h.do(func() (err error) {
		w, err = Parse(append([]Option{{"packet", "cable"}}, options...))
		return err
	})
	h.t.Cleanup(func() { w.Close() })
	require.Eventually(h.t, w.Up, 30*time.Second, time.Millisecond, "carrier")
	return w.(*packet)
}

// collect copies the frames that arrive until enough returns true.
func collect(t *testing.T, w Wire, enough func(frames [][]byte) bool) (got [][]byte) {
	t.Helper()
	frames := make([]Frame, 16)
	last := int64(0)
	for start := time.Now(); !enough(got); {
		require.Less(t, time.Since(start), 60*time.Second, "waiting for frames on the veth, have %d", len(got))
		n, err := w.Receive(frames, plenty)
		require.NoError(t, err)
		for _, f := range frames[:n] {
			got = append(got, append([]byte(nil), f.Data...))
			require.GreaterOrEqual(t, f.At, last)
			require.InDelta(t, time.Now().UnixNano(), f.At, 20e9)
			last = f.At
		}
	}
	return got
}

// checked decodes a frame and verifies every checksum in it.
func checked(t *testing.T, frame []byte) gopacket.Packet {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	if ip := p.NetworkLayer(); ip != nil {
		for _, l := range p.Layers() {
			if l, ok := l.(interface {
				SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
			}); ok {
				require.NoError(t, l.SetNetworkLayerForChecksum(ip))
			}
		}
		err, wrong := p.VerifyChecksums()
		require.NoError(t, err)
		require.Empty(t, wrong, "%v", p)
	}
	return p
}
