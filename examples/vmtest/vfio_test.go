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

// The driver of ixcap in a VM, over the kernel's VFIO.

// TestVfioGroup tests the group form, on an old and a new kernel.
func TestVfioGroup(t *testing.T) {
	t.Parallel()
	for _, kernel := range []string{"6.1", "7.2"} {
		t.Run(kernel, func(t *testing.T) { vfioCases(t, kernel, "vfio-group", kernel == "6.1") })
	}
}

// TestVfioIommufd tests the iommufd form.
func TestVfioIommufd(t *testing.T) {
	t.Parallel()
	t.Run("7.2", func(t *testing.T) { vfioCases(t, "iommufd", "vfio-iommufd", true) })
}

// Ports of a VM of these tests.
const (
	portPeer   = iota // a peer namespace
	portLoop          // a pcap file in a loop, slowly
	portCount         // generated frames
	portSleep         // a pcap file, once
	portPairA         // connected to
	portPairB         // this
	portOthers        // a pcap file each
)

// Rates for an emulated processor.
const (
	loopRate = "500pps"
	once     = ",rate=20Mbps,backpressure"
)

// captures returns the pcap files to replay: that of testdata, and others if they exist.
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

// vfioCases runs all cases for a kernel and a form, or those that depend on the kernel.
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
	// A port needs more than the kernel's default of 8 MiB locked memory.
	v := boot(t, machine{Kernel: kernel, NICs: nics, Memlock: "unlimited", AddressBits: 39})
	r := rig{vm: v, kernel: kernel, form: form}
	build(t, v, "vfioprobe")
	build(t, v, "hpcapdd") // the flags of this tree
	v.run(t, "modprobe ixgbe")

	step(t, "vfio-bind binds a port for a user", func(t *testing.T) { bindForUser(t, r) })
	step(t, "failures name the remedy", func(t *testing.T) { failuresExplained(t, r) })
	step(t, "interrupts, masks and reset", func(t *testing.T) {
		r.bind(t, portLoop)
		out := v.run(t, "/share/vfioprobe interrupts "+r.name(t, portLoop))
		require.Equal(t, 3, strings.Count(out, "INTx: vector 0: fired: true\n"), out)
	})
	step(t, "descriptors are written back", func(t *testing.T) {
		r.bind(t, portLoop)
		t.Log(v.run(t, "/share/vfioprobe writeback "+r.name(t, portLoop)))
	})
	for i, f := range files {
		step(t, "capture of "+filepath.Base(f)+" byte for byte", func(t *testing.T) { byteForByte(t, r, portOthers+i, f) })
	}
	step(t, "the same, with sleep between interrupts", func(t *testing.T) {
		byteForByte(t, r, portSleep, files[0], "--sleep")
		require.Greater(t, v.nic(portSleep).stats(t).Interrupts, uint64(20), "messages of MSI-X")
	})
	step(t, "an unmapped address faults in the IOMMU", func(t *testing.T) { unmappedDMA(t, r) })
	step(t, "killed while receiving, and started again", func(t *testing.T) { killed(t, r) })
	if all {
		step(t, "both drivers: ixgbe sends, our driver receives", func(t *testing.T) { theirsToOurs(t, r) })
		step(t, "both drivers: our driver sends, ixgbe receives", func(t *testing.T) { oursToTheirs(t, r) })
		step(t, "both drivers: our driver's offloads, ixgbe receives", func(t *testing.T) { oursOffloaded(t, r) })
		step(t, "unbound, ixgbe passes traffic again", func(t *testing.T) { unbound(t, r, n) })
	}
	step(t, "removed while capturing", func(t *testing.T) { removed(t, r, files[0]) })
}

// rig is a VM and the form in which its ports are opened.
type rig struct {
	*vm
	kernel, form string
}

// name returns the name of a port with the form.
func (r rig) name(t *testing.T, port int) string {
	t.Helper()
	return r.form + ":" + r.nic(port).addr(t)
}

// bind binds a port for the unprivileged user.
func (r rig) bind(t *testing.T, port int) {
	t.Helper()
	r.run(t, "vfio-bind bind "+r.nic(port).addr(t)+" -u probe --hugepages 64")
}

// build builds a program for the VM.
func build(t *testing.T, v *vm, program string) {
	t.Helper()
	from := "../" + program
	if _, err := os.Stat(program); err == nil {
		from = "./" + program
	}
	if out, err := goBuild(filepath.Join(v.share, program), from); err != nil {
		t.Fatalf("build %s: %v\n%s", program, err, out)
	}
}

// capture is a capture in the VM, as the unprivileged user.
type capture struct {
	*process
	dir string // on this machine
}

var captureNumber atomic.Int64

// capture starts a capture, with additional flags of hpcapdd.
func (r rig) capture(t *testing.T, device string, flags ...string) capture {
	t.Helper()
	dir := fmt.Sprintf("capture%d", captureNumber.Add(1))
	p := r.startAs(t, "probe", fmt.Sprintf("exec /share/hpcapdd -i %s -w /share/%s --buffer 16MiB --segment 16MiB --progress %s",
		device, dir, strings.Join(flags, " ")))
	return capture{p, filepath.Join(r.share, dir)}
}

// end ends the capture by SIGINT and checks that its ledger balances.
func (c capture) end(t *testing.T) string {
	t.Helper()
	c.signal("INT")
	out := c.wait(t, time.Minute)
	require.Contains(t, out, "the ledger balances")
	return out
}

// until waits until the model's counters of a port fulfil f.
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
