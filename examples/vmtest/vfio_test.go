//go:build vmtest

package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The project's own driver in the guest, over the kernel's VFIO.

// TestVfioGroup: groups and a container, on the oldest kernel and on a new one.
func TestVfioGroup(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"6.1", "7.2"} {
		t.Run(kernel, func(t *testing.T) { vfioCases(t, kernel, "vfio-group", kernel == "6.1") })
	}
}

// TestVfioIommufd: the device's own node and iommufd.
func TestVfioIommufd(t *testing.T) {
	t.Parallel()
	t.Run("7.2", func(t *testing.T) { vfioCases(t, "iommufd", "vfio-iommufd", true) })
}

// vfioPorts is what a machine of these tests has; the captures come behind.
const (
	portPeer   = iota // a peer namespace
	portLoop          // a capture, over and over, slowly
	portCount         // frames for ever
	portSleep         // a capture, once
	portPairA         // plugged into
	portPairB         // this one
	portOthers        // a capture each
)

// Rates are slow enough for an emulated processor to keep up with.
const (
	loopRate = "500pps"
	once     = ",rate=20Mbps,backpressure"
)

// captures are the pcap files that are replayed: the project's, and those of
// other people where they are there.
func captures(t *testing.T) []string {
	t.Helper()
	files := []string{"../../testdata/hosts.pcap"}
	more, err := filepath.Glob("../../../shared/pcaps/*.pcap")
	require.NoError(t, err)
	for i, f := range append(files, more...) {
		abs, err := filepath.Abs(f)
		require.NoError(t, err)
		if i == 0 {
			files = files[:0]
		}
		files = append(files, abs)
	}
	return files
}

// vfioCases are all that is to show of a kernel and a form, or the part of it that
// may differ from another kernel to this one.
func vfioCases(t *testing.T, kernel, form string, all bool) {
	t.Parallel()
	files := captures(t)
	if !all {
		files = files[:1]
	}
	n := newPeer(t, 0, "192.0.2.1/24")
	nics := []nic{
		portPeer:  {Wire: "packet=" + n.Wire},
		portLoop:  {Wire: "pcap=" + files[0] + ",rate=" + loopRate + ",loop=forever"},
		portCount: {Wire: "gen,size=60-1514,rate=5kpps,backpressure"},
		portSleep: {Wire: "pcap=" + files[0] + once},
		portPairA: {Wire: "pair"}, portPairB: {Wire: "pair"},
	}
	for _, f := range files {
		nics = append(nics, nic{Wire: "pcap=" + f + once})
	}
	// The kernel's 8 MiB of locked memory are too few for a port.
	g := boot(t, machine{Kernel: kernel, NICs: nics, Memlock: "unlimited", AddressBits: 39})
	r := rig{guest: g, kernel: kernel, form: form}
	build(t, g, "vfioprobe")
	build(t, g, "hpcapdd") // the flags of this tree
	g.run(t, "modprobe ixgbe")

	step(t, "vfio-bind hands a port over", func(t *testing.T) { handOver(t, r) })
	step(t, "refusals say what to do", func(t *testing.T) { refusals(t, r) })
	step(t, "interrupts, masks and reset", func(t *testing.T) {
		r.bind(t, portLoop)
		out := g.run(t, "/share/vfioprobe interrupts "+r.name(t, portLoop))
		require.Equal(t, 3, strings.Count(out, "INTx: vector 0: fired: true\n"), out)
	})
	step(t, "descriptors are written back", func(t *testing.T) {
		r.bind(t, portLoop)
		t.Log(g.run(t, "/share/vfioprobe writeback "+r.name(t, portLoop)))
	})
	for i, f := range files {
		step(t, "capture of "+filepath.Base(f)+" byte for byte", func(t *testing.T) { byteForByte(t, r, portOthers+i, f) })
	}
	step(t, "the same, asleep between interrupts", func(t *testing.T) {
		byteForByte(t, r, portSleep, files[0], "--sleep")
		require.Greater(t, g.nic(portSleep).stats(t).Interrupts, uint64(20), "messages of MSI-X")
	})
	step(t, "an address that is not mapped faults in the IOMMU", func(t *testing.T) { stray(t, r) })
	step(t, "killed while receiving, and started again", func(t *testing.T) { killed(t, r) })
	if all {
		step(t, "both at once: ixgbe sends, our driver receives", func(t *testing.T) { theirsToOurs(t, r) })
		step(t, "both at once: our driver sends, ixgbe receives", func(t *testing.T) { oursToTheirs(t, r) })
		step(t, "unbound, ixgbe passes traffic again", func(t *testing.T) { givenBack(t, r, n) })
	}
	step(t, "removed while capturing", func(t *testing.T) { removed(t, r, files[0]) })
}

// rig is a machine and the form in which its ports are opened.
type rig struct {
	*guest
	kernel, form string
}

// name is how the tests call a port: by its form.
func (r rig) name(t *testing.T, port int) string {
	t.Helper()
	return r.form + ":" + r.nic(port).addr(t)
}

// bind hands a port to the unprivileged user.
func (r rig) bind(t *testing.T, port int) {
	t.Helper()
	r.run(t, "vfio-bind bind "+r.nic(port).addr(t)+" -u probe --hugepages 64")
}

// build puts one of the project's programs into the guest.
func build(t *testing.T, g *guest, program string) {
	t.Helper()
	from := "../" + program
	if _, err := os.Stat(program); err == nil {
		from = "./" + program
	}
	if out, err := goBuild(filepath.Join(g.share, program), from); err != nil {
		t.Fatalf("build %s: %v\n%s", program, err, out)
	}
}

// capture is a capture that runs in the guest, as the unprivileged user.
type capture struct {
	*process
	dir string // on this machine
}

var captureNumber atomic.Int64

// capture starts one, with further flags of hpcapdd.
func (r rig) capture(t *testing.T, device string, flags ...string) capture {
	t.Helper()
	dir := fmt.Sprintf("capture%d", captureNumber.Add(1))
	p := r.startAs(t, "probe", fmt.Sprintf("exec /share/hpcapdd -i %s -w /share/%s --buffer 16MiB --segment 16MiB --progress %s",
		device, dir, strings.Join(flags, " ")))
	return capture{p, filepath.Join(r.share, dir)}
}

// end ends the capture as a user does, and requires that its ledger balances.
func (c capture) end(t *testing.T) string {
	t.Helper()
	c.signal("INT")
	out := c.wait(t, time.Minute)
	require.Contains(t, out, "the ledger balances")
	return out
}

// until waits for what the model says about a port.
func (r rig) until(t *testing.T, port int, what string, deadline time.Duration, f func(c counters) bool) counters {
	t.Helper()
	for start := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		c := r.nic(port).stats(t)
		if f(c) {
			return c
		}
		if time.Since(start) > deadline {
			t.Fatalf("the model of port %d: not %s after %v: %+v", port, what, deadline, c)
		}
	}
}
