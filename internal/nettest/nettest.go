package nettest

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// capabilities are those that tests need, by their numbers of capabilities(7).
var capabilities = []struct {
	number int
	name   string
}{
	{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"},
	{unix.CAP_NET_RAW, "CAP_NET_RAW"},
	{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"},
	{unix.CAP_BPF, "CAP_BPF"},
}

// Need skips a test if the calling thread lacks capabilities, and names them. CAP_BPF is
// also part of CAP_SYS_ADMIN.
func Need(tb testing.TB, needed ...int) {
	tb.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		tb.Fatalf("read the thread's capabilities: %v", err)
	}
	has := func(n int) bool { return data[n/32].Effective&(1<<(n%32)) != 0 }
	var lacking []string
	for _, n := range needed {
		if has(n) || n == unix.CAP_BPF && has(unix.CAP_SYS_ADMIN) {
			continue
		}
		for _, c := range capabilities {
			if c.number == n {
				lacking = append(lacking, c.name)
			}
		}
	}
	if lacking != nil {
		tb.Skipf("needs %s: run the tests as root (sudo make test), and a container with --cap-add", strings.Join(lacking, " and "))
	}
}

// Namespace moves the calling goroutine to a thread and a network namespace of its own,
// which end with the goroutine.
func Namespace(tb testing.TB) {
	tb.Helper()
	Need(tb, unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
	runtime.LockOSThread() // not unlocked: the thread ends with its namespace
	ns, err := netns.New()
	if err != nil {
		tb.Fatalf("make a network namespace: %v", err)
	}
	tb.Cleanup(func() { ns.Close() })
}

// Veth are the properties of both ends of a pair. 0: the kernel's default.
type Veth struct {
	MTU, Queues int // receive queues, and as many transmit queues
}

// Pair makes a Namespace with the veth pair ixa, ixb, which is up and has no IPv6, so that
// the host sends nothing, and waits until both ends can send.
func Pair(tb testing.TB, v Veth) {
	tb.Helper()
	Namespace(tb)
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.NumRxQueues, a.NumTxQueues = "ixa", v.MTU, v.Queues, v.Queues
	err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: "ixb", PeerMTU: uint32(v.MTU),
		PeerNumRxQueues: uint32(v.Queues), PeerNumTxQueues: uint32(v.Queues)})
	if err != nil {
		tb.Fatalf("make the veth pair ixa, ixb: %v", err)
	}
	Up(tb, "ixa", "ixb")
	WaitUp(tb)
}

// WaitUp waits until both ends of the pair can send.
func WaitUp(tb testing.TB) {
	tb.Helper()
	for end := time.Now().Add(10 * time.Second); Link(tb, "ixa").Attrs().OperState != netlink.OperUp || Link(tb, "ixb").Attrs().OperState != netlink.OperUp; {
		if time.Now().After(end) {
			tb.Fatal("the veth pair ixa, ixb has no carrier")
		}
		time.Sleep(time.Millisecond)
	}
}

// Up sets interfaces up, without IPv6.
func Up(tb testing.TB, names ...string) {
	tb.Helper()
	for _, name := range names {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0); err != nil {
			tb.Fatal(err)
		}
		if err := netlink.LinkSetUp(Link(tb, name)); err != nil {
			tb.Fatalf("set %s up: %v", name, err)
		}
	}
}

// Link returns an interface of the thread's namespace.
func Link(tb testing.TB, name string) netlink.Link {
	tb.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		tb.Fatalf("interface %s: %v", name, err)
	}
	return l
}
