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

	"github.com/ixcap/ixcap/internal/testtime"
)

// bindHost is a machine for vfio-bind: a mount namespace in which /sys, /dev and /run are
// folders of the test, and a network namespace with eth2. A goroutine acts as the kernel
// after writes to bind and unbind. Tests with Linux itself are in examples/vmtest; these
// are the cases that are not possible there: groups of several functions, own device
// nodes (cdev and iommufd), drivers that do not react.
type bindHost struct {
	t    *testing.T
	root string
	pid  string // of a process in the namespaces
	stop chan struct{}

	mu      sync.Mutex // guards the following
	ignored string     // a driver's file without reaction to writes
	noNode  bool       // no device nodes are created
	cdev    bool       // own device nodes are created
}

const port0, port1 = "0000:03:00.0", "0000:03:00.1"

func newBindHost(t *testing.T) *bindHost {
	skipWithRace(t)
	if os.Geteuid() != 0 {
		t.Skip("a mount namespace needs root: sudo make test")
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
	// Creates the files of the module. vfio-bind must check for them.
	h.write("bin/modprobe", "#!/bin/sh\ncase $* in *vfio-pci) mkdir -p /sys/bus/pci/drivers/vfio-pci && cd /sys/bus/pci/drivers/vfio-pci && : >>bind && : >>unbind ;; esac\n")
	require.NoError(t, os.Chmod(filepath.Join(h.root, "bin/modprobe"), 0o755))

	holder := exec.Command("unshare", "-mn", "--propagation", "private", "sh", "-c", `cd "$1" && mount --bind /dev/null dev/null &&
		mount --bind sys /sys && mount --bind run /run && mount --bind dev /dev && ip link add eth2 type bridge && echo $$ && exec sleep 600`, "sh", h.root)
	var stderr bytes.Buffer
	holder.Stderr = &stderr
	out, err := holder.StdoutPipe()
	require.NoError(t, err)
	if err := holder.Start(); err != nil {
		t.Skipf("needs unshare of util-linux: %v", err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	if _, err := fmt.Fscan(out, &h.pid); err != nil {
		t.Fatalf("create the namespaces: %v %s", err, stderr.String())
	}
	done := make(chan struct{})
	go func() { defer close(done); h.kernel() }()
	t.Cleanup(func() { close(h.stop); <-done })
	return h
}

// hasten makes the waits of vfio-bind five times shorter: its 10 s are 2 s.
func (h *bindHost) hasten() {
	h.write("bin/sleep", "#!/bin/sh\nexec /bin/sleep 0.02\n") // instead of 0.1
	require.NoError(h.t, os.Chmod(h.path("bin/sleep"), 0o755))
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

// attach and detach make the changes of a driver to sysfs and devtmpfs.
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
		time.AfterFunc(200*time.Millisecond, func() { // as slow as udev
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

// kernel reacts to writes to the drivers' files.
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
			if st, err := os.Lstat(file); err != nil || !st.Mode().IsRegular() {
				continue // a driver that blocks
			}
			text, err := os.ReadFile(file)
			addr := strings.TrimSpace(string(text))
			driver := filepath.Base(filepath.Dir(file))
			if err != nil || addr == "" || h.ignored == driver+"/"+filepath.Base(file) {
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

// locked calls f with the lock of the kernel.
func (h *bindHost) locked(f func()) {
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

// mode returns the owner and the mode of a node: "0 600".
func (h *bindHost) mode(node string) string {
	st, err := os.Stat(h.path(node))
	if err != nil {
		return "none"
	}
	return fmt.Sprintf("%d %o", st.Sys().(*syscall.Stat_t).Uid, st.Mode().Perm())
}

func (h *bindHost) in(args ...string) (string, int) {
	h.t.Helper()
	// Failed steps and their undo take 10 s each.
	ctx, cancel := context.WithTimeout(context.Background(), 3*testtime.Deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", h.pid, "-m", "-n"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+h.path("bin")+":"+os.Getenv("PATH"))
	cmd.WaitDelay = testtime.Deadline // for processes that inherited the output
	out, err := cmd.CombinedOutput()
	require.NoError(h.t, ctx.Err(), "%s", out)
	if _, exited := err.(*exec.ExitError); !exited {
		require.NoError(h.t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// bind runs vfio-bind, checks its exit status and returns its output.
func (h *bindHost) bind(status int, args ...string) string {
	h.t.Helper()
	script, err := filepath.Abs("../vfio-bind")
	require.NoError(h.t, err)
	out, got := h.in(append([]string{script}, args...)...)
	require.Equal(h.t, status, got, "vfio-bind %s\n%s", strings.Join(args, " "), out)
	return out
}

// all returns the names and contents of all files.
func (h *bindHost) all() string {
	var b strings.Builder
	h.locked(func() {
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
