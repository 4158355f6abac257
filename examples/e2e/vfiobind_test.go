package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// bindHost is a machine that vfio-bind sees: a mount namespace in which /sys,
// /dev and /run are folders of the test, and a network namespace with eth2. A
// goroutine is the kernel: it answers what is written to bind and unbind. What a
// real kernel does is tested in virtual machines, see examples/vmtest; here are
// the cases that those cannot make: groups of several functions, device nodes of
// their own (cdev and iommufd), drivers that do not answer.
type bindHost struct {
	t    *testing.T
	root string
	pid  string // of the process that holds the namespaces
	stop chan struct{}

	mu     sync.Mutex // guards what the test tells the kernel
	deaf   string     // a driver's file that is not answered
	noNode bool       // the device nodes never come
	cdev   bool       // there are cdevs and /dev/iommu
}

const port0, port1 = "0000:03:00.0", "0000:03:00.1"

func newBindHost(t *testing.T) *bindHost {
	if os.Geteuid() != 0 {
		t.Skip("vfio-bind is run in a mount namespace, which takes root: sudo make test")
	}
	h := &bindHost{t: t, root: t.TempDir(), stop: make(chan struct{})}
	h.write("sys/bus/pci/drivers/ixgbe/bind", "")
	h.write("sys/bus/pci/drivers/ixgbe/unbind", "")
	h.write("sys/firmware/acpi/tables/DMAR", "")
	for _, addr := range []string{port0, port1} {
		dir := "sys/bus/pci/devices/" + addr
		for file, text := range map[string]string{"class": "0x020000", "vendor": "0x8086", "device": "0x10fb", "numa_node": "-1", "driver_override": "(null)"} {
			h.write(dir+"/"+file, text+"\n")
		}
		h.mkdir("sys/kernel/iommu_groups/12/devices/" + addr)
		h.link(dir+"/iommu_group", "/sys/kernel/iommu_groups/12")
	}
	h.attach(port0, "ixgbe")
	for _, dir := range []string{"dev/vfio", "run", "bin"} {
		h.mkdir(dir)
	}
	h.write("dev/null", "")
	// It makes what the module would; vfio-bind must look whether it worked.
	h.write("bin/modprobe", "#!/bin/sh\ncase $* in *vfio-pci) mkdir -p /sys/bus/pci/drivers/vfio-pci && cd /sys/bus/pci/drivers/vfio-pci && : >>bind && : >>unbind ;; esac\n")
	require.NoError(t, os.Chmod(filepath.Join(h.root, "bin/modprobe"), 0o755))

	hold := exec.Command("unshare", "-mn", "--propagation", "private", "sh", "-c", `cd "$1" && mount --bind /dev/null dev/null &&
		mount --bind sys /sys && mount --bind run /run && mount --bind dev /dev && ip link add eth2 type bridge && echo $$ && exec sleep 600`, "sh", h.root)
	var problems bytes.Buffer
	hold.Stderr = &problems
	out, err := hold.StdoutPipe()
	require.NoError(t, err)
	if err := hold.Start(); err != nil {
		t.Skipf("util-linux's unshare is needed: %v", err)
	}
	t.Cleanup(func() { _ = hold.Process.Kill(); _ = hold.Wait() })
	if _, err := fmt.Fscan(out, &h.pid); err != nil {
		t.Fatalf("make the namespaces: %v %s", err, problems.String())
	}
	done := make(chan struct{})
	go func() { defer close(done); h.kernel() }()
	t.Cleanup(func() { close(h.stop); <-done })
	return h
}

func (h *bindHost) path(name string) string { return filepath.Join(h.root, name) }

func (h *bindHost) mkdir(name string) { require.NoError(h.t, os.MkdirAll(h.path(name), 0o755)) }

func (h *bindHost) write(name, text string) {
	h.mkdir(filepath.Dir(name))
	require.NoError(h.t, os.WriteFile(h.path(name), []byte(text), 0o644))
}

func (h *bindHost) link(name, target string) {
	h.mkdir(filepath.Dir(name))
	require.NoError(h.t, os.Symlink(target, h.path(name)))
}

// attach and detach are what a driver does to sysfs and devtmpfs.
func (h *bindHost) attach(addr, driver string) {
	dir := "sys/bus/pci/devices/" + addr
	switch driver {
	case "ixgbe":
		if addr == port0 {
			h.link("sys/class/net/eth2", "/"+dir+"/net/eth2")
			h.write(dir+"/net/eth2/mtu", "1500\n")
			h.link(dir+"/net/eth2/device", "/"+dir)
		}
	case "vfio-pci":
		h.mkdir("sys/class/vfio/12")
		if h.noNode {
			break
		}
		nodes := []string{"dev/vfio/12"}
		if h.cdev {
			cdev := "vfio" + addr[len(addr)-1:]
			h.write(dir+"/vfio-dev/"+cdev+"/dev", "511:0\n")
			nodes = append(nodes, "dev/vfio/devices/"+cdev)
		}
		time.AfterFunc(200*time.Millisecond, func() { // devtmpfs is not that slow, udev is
			for _, node := range nodes {
				_ = os.MkdirAll(filepath.Dir(h.path(node)), 0o755)
				if f, err := os.OpenFile(h.path(node), os.O_CREATE, 0o600); err == nil {
					f.Close()
				}
			}
		})
	}
	h.link(dir+"/driver", "/sys/bus/pci/drivers/"+driver)
}

func (h *bindHost) detach(addr string) {
	dir := "sys/bus/pci/devices/" + addr
	for _, name := range []string{dir + "/driver", dir + "/net", dir + "/vfio-dev", "dev/vfio/devices/vfio" + addr[len(addr)-1:]} {
		require.NoError(h.t, os.RemoveAll(h.path(name)))
	}
	if addr == port0 {
		_ = os.Remove(h.path("sys/class/net/eth2"))
	}
	if others, _ := filepath.Glob(h.path("sys/bus/pci/devices/*/driver")); len(others) == 0 || h.driver(port0) != "vfio-pci" && h.driver(port1) != "vfio-pci" {
		_ = os.RemoveAll(h.path("sys/class/vfio/12"))
		_ = os.Remove(h.path("dev/vfio/12"))
	}
}

// kernel answers what is written to the drivers' files.
func (h *bindHost) kernel() {
	for {
		select {
		case <-h.stop:
			return
		case <-time.After(2 * time.Millisecond):
		}
		files, _ := filepath.Glob(h.path("sys/bus/pci/drivers/*/*bind"))
		h.mu.Lock()
		for _, file := range files {
			text, err := os.ReadFile(file)
			addr := strings.TrimSpace(string(text))
			driver := filepath.Base(filepath.Dir(file))
			if err != nil || addr == "" || h.deaf == driver+"/"+filepath.Base(file) {
				continue
			}
			_ = os.Truncate(file, 0)
			switch override := h.text("sys/bus/pci/devices/" + addr + "/driver_override"); {
			case filepath.Base(file) == "unbind":
				h.detach(addr)
			case override == "" || override == "(null)" || override == driver:
				h.attach(addr, driver)
			}
		}
		h.mu.Unlock()
	}
}

func (h *bindHost) tell(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

func (h *bindHost) text(name string) string {
	text, _ := os.ReadFile(h.path(name))
	return strings.TrimSpace(string(text))
}

func (h *bindHost) driver(addr string) string {
	target, _ := os.Readlink(h.path("sys/bus/pci/devices/" + addr + "/driver"))
	return strings.TrimPrefix(target, "/sys/bus/pci/drivers/")
}

// mode is who may use a node: "root 600".
func (h *bindHost) mode(node string) string {
	st, err := os.Stat(h.path(node))
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%d %o", st.Sys().(*syscall.Stat_t).Uid, st.Mode().Perm())
}

func (h *bindHost) in(args ...string) (string, int) {
	h.t.Helper()
	// Steps that fail wait for 10 s, and are undone for as long.
	ctx, cancel := context.WithTimeout(context.Background(), 3*deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", h.pid, "-m", "-n"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+h.path("bin")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(h.t, ctx.Err(), "%s", out)
	if _, exited := err.(*exec.ExitError); !exited {
		require.NoError(h.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// bind runs vfio-bind, which must end with that status.
func (h *bindHost) bind(status int, args ...string) string {
	h.t.Helper()
	script, err := filepath.Abs("../vfio-bind")
	require.NoError(h.t, err)
	out, got := h.in(append([]string{script}, args...)...)
	require.Equal(h.t, status, got, "vfio-bind %s\n%s", strings.Join(args, " "), out)
	return out
}

// all is everything below the folders, to see that nothing was changed.
func (h *bindHost) all() string {
	var b strings.Builder
	h.tell(func() {
		require.NoError(h.t, filepath.WalkDir(h.root, func(path string, d fs.DirEntry, err error) error {
			name := strings.TrimPrefix(path, h.root)
			switch {
			case err != nil:
				return err
			case d.Type() == fs.ModeSymlink:
				target, _ := os.Readlink(path)
				fmt.Fprintln(&b, name, "->", target)
			case d.Type().IsRegular():
				fmt.Fprintln(&b, name, h.mode(strings.TrimPrefix(name, "/")), h.text(strings.TrimPrefix(name, "/")))
			}
			return nil
		}))
	})
	return b.String()
}

func TestVFIOBindHandsOverNodesAndTakesThemBack(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.tell(func() { h.cdev = true })
	h.write("dev/iommu", "")
	h.write("dev/vfio/vfio", "")
	require.NoError(t, os.Chmod(h.path("dev/iommu"), 0o660))
	require.NoError(t, os.Chmod(h.path("dev/vfio/vfio"), 0o666))

	out := h.bind(0, "bind", "eth2", "-u", "daemon")
	require.Equal(t, port0+" (eth2) is bound to vfio-pci, for daemon: /dev/vfio/12, /dev/vfio/devices/vfio0\n", out)
	for range 2 {
		require.Equal(t, "vfio-pci", h.driver(port0))
		require.Equal(t, "1 600", h.mode("dev/vfio/12"))
		require.Equal(t, "1 600", h.mode("dev/vfio/devices/vfio0"))
		require.Equal(t, "1 660", h.mode("dev/iommu"))
		require.Equal(t, "0 666", h.mode("dev/vfio/vfio"), "everybody's already")
		require.Equal(t, "driver=ixgbe\ninterface=eth2", h.text("run/ixcap/vfio-bind/"+port0))
		require.Equal(t, "0 644", h.mode("run/ixcap/vfio-bind/"+port0))
		h.bind(0, "bind", port0, "-u", "daemon")
	}
	// The second port of the group, for somebody else: /dev/iommu is one for all.
	h.bind(0, "bind", port1, "-u", "bin")
	require.Equal(t, "2 600", h.mode("dev/vfio/devices/vfio1"))
	require.Equal(t, "1 666", h.mode("dev/iommu"))
	out = h.bind(0, "status")
	require.Contains(t, out, port0+"  [8086:10fb]\n  interface    none (was eth2)\n  driver       vfio-pci (was ixgbe)\n  IOMMU group  12, with 0000:03:00.1 (vfio-pci)\n")
	require.Contains(t, out, "/dev/iommu  daemon:root")

	require.Equal(t, port0+" has its driver back: ixgbe, interface eth2\n", h.bind(0, "unbind", "eth2"))
	require.Equal(t, "ixgbe", h.driver(port0))
	require.Equal(t, "1 666", h.mode("dev/iommu"), "the other port needs it")
	require.Equal(t, port1+" is free: it had no driver\n", h.bind(0, "unbind", port1))
	require.Empty(t, h.driver(port1), "it had none")
	require.Equal(t, "0 660", h.mode("dev/iommu"))
	require.Equal(t, "(null)", strings.TrimSpace(h.text("sys/bus/pci/devices/"+port0+"/driver_override") + "(null)")[:6])
	require.Contains(t, h.bind(0, "unbind", port0), "is not bound to vfio-pci (driver: ixgbe)")
	require.NoFileExists(t, h.path("run/ixcap/nodes"))
	records, err := os.ReadDir(h.path("run/ixcap/vfio-bind"))
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestVFIOBindRefuses(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	h.write("sys/bus/pci/devices/0000:00:1f.0/class", "0x060100\n")
	before := h.all()
	for _, c := range []struct{ args, want string }{
		{"bind eth9", "eth9: no such interface, and none of that name was taken"},
		{"bind lo", "interface lo: is virtual"},
		{"bind 03:00.0", "the domain is missing (most likely 0000:03:00.0)"},
		{"bind 0000:03:20.0", "want domain:bus:device.function in hexadecimal, such as 0000:03:00.0"},
		{"bind 0000:04:00.0", "0000:04:00.0: no such PCI function"},
		{"bind 0000:00:1f.0", "not a network function (class 0x060100)"},
		{"bind eth2 -u nobody-of-that-name", "no such user"},
	} {
		require.Contains(t, h.bind(1, strings.Fields(c.args)...), c.want, c.args)
	}
	for _, c := range []struct{ args, want string }{
		{"", "usage: vfio-bind"},
		{"bind", "bind what?"},
		{"bind eth2 eth3", "one port at a time: eth3"},
		{"take eth2", "no such command: take"},
		{"bind eth2 -x", "no such option: -x"},
		{"bind eth2 -u", "-u wants a value"},
		{"bind eth2 --hugepages 0", "want a number"},
		{"bind eth2 --hugepages 1@x", "want a number"},
		{"unbind eth2 -u daemon", "go with bind"},
	} {
		require.Contains(t, h.bind(2, strings.Fields(c.args)...), c.want, c.args)
	}
	require.Contains(t, h.bind(0, "-h"), "usage: vfio-bind")

	_, status := h.in("sh", "-c", "ip address add 192.0.2.2/24 dev eth2 && ip link set eth2 up && ip route add default via 192.0.2.1")
	require.Zero(t, status)
	require.Contains(t, h.bind(1, "bind", "eth2"), "eth2 is in use, it would lose: address 192.0.2.2/24, route default via 192.0.2.1. Move that elsewhere, or take it with --force")
	_, status = h.in("ip", "address", "flush", "dev", "eth2")
	require.Zero(t, status)

	h.tell(func() { h.attach(port1, "ixgbe") })
	require.Contains(t, h.bind(1, "bind", "eth2"), "IOMMU group 12 is handed out whole, and kernel drivers hold other parts of it: 0000:03:00.1 (ixgbe)")
	h.tell(func() { h.detach(port1) })
	require.NoError(t, os.Rename(h.path("sys/bus/pci/devices/"+port0+"/net"), h.path("sys/net-of-a-container")))
	require.Contains(t, h.bind(1, "bind", port0), "it is in another network namespace")
	require.NoError(t, os.Rename(h.path("sys/net-of-a-container"), h.path("sys/bus/pci/devices/"+port0+"/net")))
	h.write("sys/bus/pci/devices/"+port0+"/sriov_numvfs", "2\n")
	require.Contains(t, h.bind(1, "bind", "eth2"), "has virtual functions")
	require.NoError(t, os.Remove(h.path("sys/bus/pci/devices/"+port0+"/sriov_numvfs")))

	group := h.path("sys/bus/pci/devices/" + port0 + "/iommu_group")
	require.NoError(t, os.Remove(group))
	require.Contains(t, h.bind(1, "bind", "eth2"), "no IOMMU isolates it, and VFIO must not open it: boot the kernel with intel_iommu=on iommu=pt")
	require.NoError(t, os.Symlink("/sys/kernel/iommu_groups/12", group))
	h.write("bin/modprobe", "#!/bin/sh\nexit 1\n")
	require.Contains(t, h.bind(1, "bind", "eth2"), "the module vfio-pci cannot be loaded")
	h.write("bin/modprobe", strings.SplitN(before[strings.Index(before, "#!/bin/sh"):], "\n/dev", 2)[0]+"\n")
	after := h.all()
	for _, s := range []*string{&before, &after} { // what vfio-bind needs for itself
		*s = strings.ReplaceAll(*s, "/run/ixcap/lock 0 644 \n", "")
	}
	require.Equal(t, before, after)
}

func TestVFIOBindUndoesWhatItCannotFinish(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		want  string
		spoil func(h *bindHost)
	}{
		"the driver does not let go":   {"ixgbe does not let go of 0000:03:00.0", func(h *bindHost) { h.deaf = "ixgbe/unbind" }},
		"vfio-pci does not take it":    {"vfio-pci does not take 0000:03:00.0", func(h *bindHost) { h.deaf = "vfio-pci/bind" }},
		"the device nodes do not come": {"no device node has come within 10 s: want /dev/vfio/12", func(h *bindHost) { h.noNode = true }},
		"the override has no such file": {"the kernel refused", func(h *bindHost) {
			file := h.path("sys/bus/pci/devices/" + port0 + "/driver_override")
			require.NoError(h.t, os.Remove(file))
			require.NoError(h.t, os.Mkdir(file, 0o755))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newBindHost(t)
			h.tell(func() { c.spoil(h) })
			out := h.bind(1, "bind", "eth2", "-u", "daemon")
			require.Contains(t, out, c.want)
			require.Equal(t, "ixgbe", h.driver(port0))
			require.NoFileExists(t, h.path("run/ixcap/vfio-bind/"+port0))
			require.NoFileExists(t, h.path("run/ixcap/nodes"))
			require.NotContains(t, h.text("sys/bus/pci/devices/"+port0+"/driver_override"), "vfio")
			work, err := filepath.Glob(h.path("run/ixcap/work*"))
			require.NoError(t, err)
			require.Empty(t, work)
		})
	}
}

func TestVFIOBindRemembersAcrossAKilledRun(t *testing.T) {
	t.Parallel()
	h := newBindHost(t)
	// As a run leaves it that was killed between the two drivers.
	h.write("run/ixcap/vfio-bind/"+port0, "driver=ixgbe\ninterface=eth2\n")
	h.tell(func() { h.detach(port0) })
	h.bind(0, "bind", "eth2", "-u", "daemon")
	require.Equal(t, "vfio-pci", h.driver(port0))
	require.Equal(t, port0+" has its driver back: ixgbe, interface eth2\n", h.bind(0, "unbind", "eth2"))

	h.write("run/ixcap/vfio-bind/0000:09:00.0", "driver=ixgbe\ninterface=eth7\n")
	require.Equal(t, "0000:09:00.0 has left the machine\n", h.bind(0, "unbind", "eth7"))
	require.NoFileExists(t, h.path("run/ixcap/vfio-bind/0000:09:00.0"))
}
