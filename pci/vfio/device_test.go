package vfio

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
)

// forms runs a test with both forms.
func forms(t *testing.T, f func(t *testing.T, r *rig, form form)) {
	for _, form := range []form{formGroup, formIOMMUFD} {
		t.Run(form.String(), func(t *testing.T) { f(t, newRig(t), form) })
	}
}

func alloc(t *testing.T, bytes int) *hugepage.Memory {
	mem, err := hugepage.Alloc(bytes, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mem.Close()) })
	return mem
}

func TestPropertiesOfADevice(t *testing.T) {
	forms(t, func(t *testing.T, r *rig, form form) {
		d := r.dial(form)
		require.Equal(t, "eth2", d.Name())
		require.Equal(t, "vfio", d.Transport())
		require.Equal(t, form.String(), d.Form())
		require.Equal(t, pci.ID{Vendor: 0x8086, Device: 0x10fb, SubVendor: 0x8086, SubDevice: 3, Class: 0x020000, Revision: 1}, d.ID())
		require.Equal(t, 1, d.NUMANode())
		require.EqualValues(t, commandMemory|commandMaster, r.k.card.command())
		require.Equal(t, msixTable{4, 0x1000, 1024}, d.msix)
		require.EqualValues(t, 0x44, d.pmAt)
		for kind, want := range map[pci.IRQKind]int{pci.INTx: 1, pci.MSI: 1, pci.MSIX: 64, pci.ErrorIRQ: 1, pci.Request: 1, 9: 0, -1: 0} {
			n, err := d.Vectors(kind)
			require.NoError(t, err)
			require.Equal(t, want, n, "kind %d", kind)
		}
		_, err := d.BAR(1)
		require.EqualError(t, err, "eth2: BAR 1: the device has none")
		_, err = d.BAR(6)
		require.ErrorContains(t, err, "want 0 to 5")
		bar, err := d.BAR(0)
		require.NoError(t, err)
		require.EqualValues(t, 128<<10, bar.Size())
		again, _ := d.BAR(0)
		require.Same(t, bar, again)
		require.NoError(t, d.Err())
		require.NoError(t, d.Close())
		require.ErrorIs(t, d.Err(), ErrClosed)
		require.EqualValues(t, commandMemory, r.k.card.command(), "bus mastering is off, memory decoding stays on")
		<-d.Done()
		require.NoError(t, d.Close())
		_, err = d.Vectors(pci.MSIX)
		require.ErrorIs(t, err, ErrClosed)
	})
}

func TestRegistersAreMapped(t *testing.T) {
	forms(t, func(t *testing.T, r *rig, form form) {
		d := r.dial(form)
		bar, err := d.BAR(0)
		require.NoError(t, err)
		before := len(r.k.calls)
		bar.Store32(0x1018, 0xfeedbeef)
		require.Equal(t, uint32(0xfeedbeef), bar.Load32(0x1018))
		bar.Store32(128<<10-4, 5)
		require.Equal(t, uint32(5), bar.Load32(128<<10-4))
		require.Len(t, r.k.calls, before, "no system call")
		require.Zero(t, testing.AllocsPerRun(100, func() { bar.Store32(0x1018, bar.Load32(0x1018)) }))
		var b [8]byte
		n, err := bar.ReadAt(b[:], 0x1018)
		require.NoError(t, err)
		require.Equal(t, 8, n)
		require.Equal(t, uint32(0xfeedbeef), binary.LittleEndian.Uint32(b[:]))
		require.Panics(t, func() { bar.Load32(2) })
		require.Panics(t, func() { bar.Store32(128<<10, 0) })
		require.NoError(t, d.Close())
		require.Equal(t, uint32(allOnes), bar.Load32(0x1018))
		bar.Store32(0x1018, 1) // discarded
		require.Equal(t, uint32(allOnes), bar.Load32(0x1018))
		_, err = bar.ReadAt(b[:], 0x1018)
		require.ErrorIs(t, err, ErrClosed)
		require.Equal(t, strings.Repeat("\xff", 8), string(b[:]))
		var m unix.Stat_t
		require.NoError(t, unix.Fstat(r.k.card.bars[0], &m))
		reg := make([]byte, 4)
		_, err = unix.Pread(r.k.card.bars[0], reg, 0x1018)
		require.NoError(t, err)
		require.Equal(t, uint32(0xfeedbeef), binary.LittleEndian.Uint32(reg), "the last store did not reach the device")
	})
}

// The MSI-X table is not mapped, however the kernel reports that.
func TestMSIXTableIsNotMapped(t *testing.T) {
	for name, set := range map[string]func(*fakeCard){
		"mappable":     func(*fakeCard) {},
		"sparse":       func(c *fakeCard) { c.sparse, c.mappable = true, false },
		"not reported": func(c *fakeCard) { c.noCaps = true },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			set(r.k.card)
			d := r.dial(formGroup)
			var got []area
			for _, m := range d.bars[4].areas {
				got = append(got, m.area)
			}
			want := []area{{0, 0x1000}, {0x2000, 0x2000}}
			if name == "mappable" {
				want = []area{{0, 0x4000}}
			}
			require.Equal(t, want, got)
			bar, _ := d.BAR(4)
			bar.Store32(0x2ffc, 7)
			require.Equal(t, uint32(7), bar.Load32(0x2ffc))
			if name != "mappable" {
				bar.Store32(0x1000, 7) // through the file, ignored
				require.Equal(t, uint32(allOnes), bar.Load32(0x1000))
			}
		})
	}
}

func TestConfigurationSpace(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	require.Equal(t, uint32(0x10fb8086), d.Config().Load32(0))
	all := make([]byte, 300)
	n, err := d.Config().ReadAt(all, 0)
	require.Equal(t, 256, n)
	require.Error(t, err)
	require.Equal(t, r.k.card.config[:], all[:256])
	_, err = d.Config().WriteAt([]byte{0x12}, 0x3c)
	require.NoError(t, err)
	require.EqualValues(t, 0x12, r.k.card.config[0x3c])
	_, err = d.Config().WriteAt([]byte{1, 2}, 255)
	require.ErrorContains(t, err, "the region has 0x100")
	_, err = d.Config().ReadAt(all, -1)
	require.ErrorContains(t, err, "negative offset")
}

// An access to a disabled BAR raises SIGBUS, which must not end the program.
func TestDisablingMemoryIsNoFault(t *testing.T) {
	for name, write := range map[string]struct {
		at  int64
		off []byte
		on  []byte
	}{
		"command":     {4, []byte{commandMaster, 0}, []byte{commandMemory | commandMaster, 0}},
		"power state": {0x44, []byte{3}, []byte{0}},
		"wide":        {0, []byte{0, 0, 0, 0, 0, 0}, []byte{0, 0, 0, 0, commandMemory, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			d := r.dial(formGroup)
			bar, _ := d.BAR(0)
			bar.Store32(8, 1)
			stop := make(chan struct{})
			var busy sync.WaitGroup
			busy.Go(func() { // a poller
				for {
					select {
					case <-stop:
						return
					default:
						bar.Store32(12, 2)
						bar.Load32(12)
					}
				}
			})
			for range 20 {
				_, err := d.Config().WriteAt(write.off, write.at)
				require.NoError(t, err)
				require.Equal(t, uint32(allOnes), bar.Load32(8))
				_, err = d.Config().WriteAt(write.on, write.at)
				require.NoError(t, err)
				bar.Store32(8, 3)
				require.Equal(t, uint32(3), bar.Load32(8))
			}
			close(stop)
			busy.Wait()
		})
	}
}

// The kernel may disable memory (arm64 also reports a lost device with SIGBUS): a load
// recovers.
func TestLoadSurvivesABusError(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	bar, _ := d.BAR(0)
	require.NoError(t, unix.Ftruncate(r.k.card.bars[0], 0))
	require.Equal(t, uint32(allOnes), bar.Load32(8))
	require.NoError(t, unix.Ftruncate(r.k.card.bars[0], 128<<10))
	require.Zero(t, bar.Load32(8))
}

func TestReset(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	require.NoError(t, d.Reset())
	require.Equal(t, 1, r.k.card.resets)
	require.NoError(t, d.Close())

	r.k.card.deviceFlags &^= deviceFlagReset
	d = r.dial(formIOMMUFD)
	require.ErrorContains(t, d.Reset(), "eth2: VFIO_DEVICE_RESET: the kernel has no reset method for this function")
}

// Both ports of a card in one IOMMU group.
func TestTwoPortsOfAGroupShareItsSpace(t *testing.T) {
	forms(t, func(t *testing.T, r *rig, form form) {
		one := r.dial(form)
		two, err := r.host.open("eth3", formAuto, r.lookup("0000:03:00.1"))
		require.NoError(t, err)
		require.Equal(t, form.String(), two.(*Device).Form(), "the group is open in one form")
		a, err := one.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
		require.NoError(t, err)
		b, err := two.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
		require.NoError(t, err)
		require.NotEqual(t, a, b)
		require.ErrorContains(t, two.DMA().Unmap(a), "nothing is mapped there")
		r.k.card.config[commandAt] |= commandMaster // one fake card is both functions
		require.NoError(t, one.Close())
		r.k.card.config[commandAt] |= commandMaster
		_, err = two.DMA().Map(alloc(t, 4096), dma.DeviceWrites)
		require.NoError(t, err)
		require.NoError(t, two.Close())
	})
}

// Every step of opening fails in turn. The rig checks that everything is closed and
// unmapped.
func TestOpenReleasesEverythingWhenAStepFails(t *testing.T) {
	for _, form := range []form{formGroup, formIOMMUFD} {
		r := newRig(t)
		require.NoError(t, r.dial(form).Close())
		steps := 0
		for i, call := range r.k.calls {
			if call == "close" {
				steps = i - 2 // without the accesses that clear bus mastering
				break
			}
		}
		require.Greater(t, steps, 15)
		mappings, fds := count(t, "/proc/self/maps", "/memfd:bar"), openFDs(t)
		for i := 1; i <= steps; i++ {
			t.Run(fmt.Sprintf("%v %d", form, i), func(t *testing.T) {
				r := newRig(t)
				r.k.failAt = i
				_, err := r.host.open("eth2", form, r.lookup("0000:03:00.0"))
				require.ErrorIs(t, err, syscall.EIO)
				step, _, _ := strings.Cut(r.k.calls[i-1], " ")
				require.ErrorContains(t, err, step)
				require.False(t, r.k.card.master())
			})
		}
		require.Equal(t, mappings, count(t, "/proc/self/maps", "/memfd:bar"))
		require.Eventually(t, func() bool { runtime.GC(); return openFDs(t) == fds }, 30*time.Second, 10*time.Millisecond)
	}
}

// A BAR stays mapped after Close until its region is unreachable.
func TestMappingsEndWithTheRegion(t *testing.T) {
	r := newRig(t)
	d := r.dial(formGroup)
	at := fmt.Sprintf("%x-", addressOf(d.bars[0].areas[0].mem))
	require.Equal(t, 1, count(t, "/proc/self/maps", at))
	require.NoError(t, d.Close())
	freed := make(chan struct{})
	runtime.AddCleanup(d.bars[0], func(int) { close(freed) }, 0)
	d.bars, d = [bars]*region{}, nil
	deadline := time.After(30 * time.Second)
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		case <-deadline:
			t.Fatal("the region is still reachable")
		case <-time.After(time.Millisecond):
		}
	}
}

func count(t *testing.T, file, text string) int {
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.Count(string(b), text)
}

func openFDs(t *testing.T) int {
	all, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	return len(all)
}
