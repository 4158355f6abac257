package vfio

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
)

// rig is a machine with the fake kernel: port 0000:03:00.0 and its peer in IOMMU
// group 12, both with their own nodes.
type rig struct {
	*host
	k *fakeKernel
}

func newRig(t *testing.T) *rig {
	root := t.TempDir()
	k := &fakeKernel{
		t: t, dev: filepath.Join(root, "dev"), card: newCard(t), files: map[int]*fakeFile{}, next: 1 << 20, nodes: map[string]error{}, viable: true,
		ranges: []dma.Range{{First: 0, Last: 0xfedfffff}, {First: 0xfef00000, Last: 1<<39 - 1}}, avail: 65535, pages: 4096 | 2<<20 | 1<<30,
		failWith: syscall.EIO,
	}
	l := limits{quick: 5e9, reset: 5e9, mapping: 5e9, perGiB: 1e9}
	r := &rig{k: k, host: &host{
		k: k, sys: filepath.Join(root, "sys"), dev: k.dev, proc: filepath.Join(root, "proc"), limits: l,
		memlock:   func() (uint64, uint64) { return unix.RLIM_INFINITY, 0 },
		reachable: func(node string) bool { _, err := os.Stat(node); return err == nil && k.nodes[node] == nil },
		spaces:    map[spaceKey]*space{},
	}}
	for _, node := range []string{"vfio/vfio", "vfio/12", "iommu", "vfio/devices/vfio3", "vfio/devices/vfio4"} {
		r.write(filepath.Join(k.dev, node), "")
	}
	for i := range 2 {
		r.function(fmt.Sprintf("0000:03:00.%d", i), "vfio-pci")
		r.write(filepath.Join(r.sys, fmt.Sprintf("bus/pci/devices/0000:03:00.%d/vfio-dev/vfio%d/dev", i, 3+i)), "")
	}
	t.Cleanup(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		for _, f := range k.files {
			t.Errorf("%s %s was left open", f.kind, f.path)
		}
		require.Zero(t, k.locked, "memory was left mapped")
		require.Empty(t, r.spaces)
	})
	return r
}

func (r *rig) write(name, text string) {
	require.NoError(r.k.t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(r.k.t, os.WriteFile(name, []byte(text), 0o644))
}

// function adds a function to sysfs, in IOMMU group 12.
func (r *rig) function(addr, driver string) {
	dir := filepath.Join(r.sys, "bus/pci/devices", addr)
	for file, text := range map[string]string{
		"vendor": "0x8086", "device": "0x10fb", "subsystem_vendor": "0x8086", "subsystem_device": "0x0003",
		"class": "0x020000", "revision": "0x01", "numa_node": "1", "resource": strings.Repeat("0x0 0x0 0x0\n", 6),
	} {
		r.write(filepath.Join(dir, file), text+"\n")
	}
	group := filepath.Join(r.sys, "kernel/iommu_groups/12")
	require.NoError(r.k.t, os.MkdirAll(filepath.Join(group, "devices"), 0o755))
	require.NoError(r.k.t, os.Symlink(dir, filepath.Join(group, "devices", addr)))
	require.NoError(r.k.t, os.Symlink(group, filepath.Join(dir, "iommu_group")))
	r.bind(addr, driver)
}

// bind binds a driver to a function, "" for none.
func (r *rig) bind(addr, driver string) {
	link := filepath.Join(r.sys, "bus/pci/devices", addr, "driver")
	_ = os.Remove(link)
	if driver != "" {
		require.NoError(r.k.t, os.Symlink(filepath.Join(r.sys, "bus/pci/drivers", driver), link))
	}
}

// lookup reads a function from sysfs.
func (r *rig) lookup(addr string) pci.Function {
	a, err := pci.ParseAddress(addr)
	require.NoError(r.k.t, err)
	f, err := pci.Lookup(r.sys, a)
	require.NoError(r.k.t, err)
	return f
}

// dial opens the first port.
func (r *rig) dial(form form) *Device {
	d, err := r.host.open("eth2", form, r.lookup("0000:03:00.0"))
	require.NoError(r.k.t, err)
	r.k.t.Cleanup(func() { _ = d.Close() })
	return d.(*Device)
}
