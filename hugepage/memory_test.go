package hugepage_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/hugepage/hugepagetest"
)

// eachSize runs a test on ordinary and on 2 MiB pages.
func eachSize(t *testing.T, pages int, test func(t *testing.T, size hugepage.Size)) {
	for _, size := range []hugepage.Size{hugepage.Ordinary, hugepage.Size2M} {
		t.Run(size.String(), func(t *testing.T) {
			if size != hugepage.Ordinary {
				hugepagetest.Reserve(t, size, 0, pages)
			}
			test(t, size)
		})
	}
}

func alloc(t *testing.T, bytes int, o hugepage.Options) *hugepage.Memory {
	t.Helper()
	m, err := hugepage.Alloc(bytes, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func TestAllocRoundsUpToPagesAndZeroes(t *testing.T) {
	eachSize(t, 2, func(t *testing.T, size hugepage.Size) {
		page, err := size.Bytes()
		require.NoError(t, err)
		for bytes, pages := range map[int]int{1: 1, page - 1: 1, page: 1, page + 1: 2} {
			m, err := hugepage.Alloc(bytes, hugepage.Options{Pages: size, Node: 0, Name: "round"})
			require.NoError(t, err)
			require.Equal(t, pages*page, m.Len())
			require.Len(t, m.Bytes(), m.Len())
			require.Equal(t, page, m.PageSize())
			require.Equal(t, 0, m.Node())
			require.Equal(t, make([]byte, m.Len()), m.Bytes())
			m.Bytes()[m.Len()-1] = 1
			require.NoError(t, m.Close())
		}
	})
}

func TestMemoryIsPopulatedNamedAndKeptOutOfCoreDumps(t *testing.T) {
	eachSize(t, 2, func(t *testing.T, size hugepage.Size) {
		m := alloc(t, 2*int(size), hugepage.Options{Pages: size, Node: hugepage.AnyNode, Name: "populated"})
		require.Equal(t, hugepage.AnyNode, m.Node())
		require.Equal(t, m.Len()/os.Getpagesize(), present(t, m.Bytes()))
		twice, err := m.MapTwice()
		require.NoError(t, err)
		require.Equal(t, len(twice)/os.Getpagesize(), present(t, twice))
		smaps, err := os.ReadFile("/proc/self/smaps")
		require.NoError(t, err)
		mappings := strings.Split(string(smaps), "/memfd:populated")[1:]
		require.Len(t, mappings, 3)
		for _, mapping := range mappings {
			_, flags, _ := strings.Cut(mapping, "VmFlags:")
			flags, _, _ = strings.Cut(flags, "\n")
			require.Contains(t, strings.Fields(flags), "dd") // do not dump
		}
	})
}

func TestPagesComeFromTheNodeAskedFor(t *testing.T) {
	eachSize(t, 2, func(t *testing.T, size hugepage.Size) {
		m := alloc(t, 2*int(size), hugepage.Options{Pages: size, Node: 0, Name: "onnode"})
		m.Bytes()[0] = 1
		maps, err := os.ReadFile("/proc/self/numa_maps")
		if err != nil {
			t.Skipf("a kernel with NUMA is needed to see where pages are: %v", err)
		}
		for line := range strings.Lines(string(maps)) {
			if strings.Contains(line, "/memfd:onnode") {
				require.Contains(t, line, "bind:0")
				require.Contains(t, line, "N0=2")
				return
			}
		}
		t.Fatal("mapping not found in numa_maps")
	})
}

func TestDescriptorSharesTheMemory(t *testing.T) {
	eachSize(t, 1, func(t *testing.T, size hugepage.Size) {
		m := alloc(t, 1, hugepage.Options{Pages: size, Node: hugepage.AnyNode, Name: "shared"})
		other, err := unix.Mmap(m.Fd(), 0, m.Len(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.NoError(t, err)
		defer unix.Munmap(other)
		copy(m.Bytes(), "there")
		copy(other[8:], "back")
		require.Equal(t, []byte("there\x00\x00\x00back"), m.Bytes()[:12])
		require.Equal(t, m.Bytes()[:12], other[:12])
	})
}

func TestMapTwiceShowsTheMemoryTwiceInARow(t *testing.T) {
	eachSize(t, 3, func(t *testing.T, size hugepage.Size) {
		m := alloc(t, 3*int(size), hugepage.Options{Pages: size, Node: 0, Name: "twice"})
		twice, err := m.MapTwice()
		require.NoError(t, err)
		require.Len(t, twice, 2*m.Len())
		copy(twice[m.Len()-4:], "12345678") // across the end
		require.Equal(t, []byte("1234"), m.Bytes()[m.Len()-4:])
		require.Equal(t, []byte("5678"), m.Bytes()[:4])
		require.Equal(t, []byte("5678"), twice[:4])
		for i := 0; i < m.Len(); i += os.Getpagesize() {
			m.Bytes()[i] = byte(i>>12) + 1
		}
		require.True(t, bytes.Equal(twice[:m.Len()], twice[m.Len():]))
		again, err := m.MapTwice()
		require.NoError(t, err)
		require.Same(t, &twice[0], &again[0])
	})
}

func TestSealedMemoryIsReadOnlyForNewMappings(t *testing.T) {
	eachSize(t, 1, func(t *testing.T, size hugepage.Size) {
		m := alloc(t, 1, hugepage.Options{Pages: size, Node: hugepage.AnyNode, Name: "sealed"})
		twice, err := m.MapTwice()
		require.NoError(t, err)
		require.NoError(t, m.SealFutureWrite())
		require.NoError(t, m.SealFutureWrite())

		m.Bytes()[0], twice[m.Len()+1] = 7, 8 // the owner still writes
		ro, err := unix.Mmap(m.Fd(), 0, m.Len(), unix.PROT_READ, unix.MAP_SHARED)
		require.NoError(t, err)
		defer unix.Munmap(ro)
		require.Equal(t, []byte{7, 8}, ro[:2])

		_, err = unix.Mmap(m.Fd(), 0, m.Len(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.ErrorIs(t, err, unix.EPERM)
		require.ErrorIs(t, unix.Mprotect(ro, unix.PROT_READ|unix.PROT_WRITE), unix.EACCES)
		_, err = unix.Pwrite(m.Fd(), []byte{1}, 0)
		require.Error(t, err)
		require.ErrorIs(t, unix.Ftruncate(m.Fd(), 0), unix.EPERM)
		require.ErrorIs(t, unix.Ftruncate(m.Fd(), int64(2*m.Len())), unix.EPERM)
		if again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", m.Fd()), os.O_RDWR, 0); err == nil {
			defer again.Close()
			_, err = unix.Mmap(int(again.Fd()), 0, m.Len(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			require.ErrorIs(t, err, unix.EPERM)
		}
	})
}

func TestMapTwiceAfterSealingIsAnError(t *testing.T) {
	m := alloc(t, 1, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "late"})
	require.NoError(t, m.SealFutureWrite())
	_, err := m.MapTwice()
	require.ErrorContains(t, err, "map late twice: memory is sealed")
}

func TestCloseIsIdempotentAndEndsEverything(t *testing.T) {
	m, err := hugepage.Alloc(1, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "closed"})
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	require.Nil(t, m.Bytes())
	_, err = m.MapTwice()
	require.ErrorContains(t, err, "closed")
	require.ErrorContains(t, m.SealFutureWrite(), "closed")
}

func TestMemoryStaysUntilEachOwnerHasClosedIt(t *testing.T) {
	m, err := hugepage.Alloc(4096, hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "held"})
	require.NoError(t, err)
	require.NoError(t, m.Hold())
	require.NoError(t, m.Close())
	m.Bytes()[0] = 1
	require.NoError(t, m.Close())
	require.Nil(t, m.Bytes())
	require.ErrorContains(t, m.Hold(), "memory is closed")
}

func TestAllocRefusesBadOptions(t *testing.T) {
	ordinary := hugepage.Options{Pages: hugepage.Ordinary, Node: hugepage.AnyNode, Name: "bad"}
	for _, c := range []struct {
		name  string
		bytes int
		set   func(*hugepage.Options)
		want  string
	}{
		{"no bytes", 0, nil, "0 bytes: want 1 to"},
		{"negative", -1, nil, "-1 bytes: want 1 to"},
		{"overflow", int(^uint(0) >> 1), nil, "bytes: want 1 to"},
		{"more than the machine has", 1 << 50, nil, "the machine has"},
		{"page size unset", 1, func(o *hugepage.Options) { o.Pages = 0 }, "page size 0B: want ordinary, 2MiB or 1GiB"},
		{"page size odd", 1, func(o *hugepage.Options) { o.Pages = 4 << 20 }, "page size 4MiB: want"},
		{"node below -1", 1, func(o *hugepage.Options) { o.Node = -2 }, "NUMA node -2: want 0 to 1023, or -1 for any"},
		{"node too high", 1, func(o *hugepage.Options) { o.Node = 1024 }, "NUMA node 1024: want"},
		{"node that does not exist", 1, func(o *hugepage.Options) { o.Node = 1023 }, "bind to NUMA node 1023 (online: "},
		{"name with a zero byte", 1, func(o *hugepage.Options) { o.Name = "a\x00b" }, "memfd_create"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := ordinary
			if c.set != nil {
				c.set(&o)
			}
			_, err := hugepage.Alloc(c.bytes, o)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n")
		})
	}
}

// More pages than there are must end in an error: a SIGBUS would end the test process.
func TestMissingHugePagesAreAnErrorWithTheCommand(t *testing.T) {
	for _, node := range []int{hugepage.AnyNode, 0} {
		t.Run(fmt.Sprint("node ", node), func(t *testing.T) {
			hugepagetest.Reserve(t, hugepage.Size2M, 0, 2)
			before, err := hugepage.ReadState(hugepage.Sysfs, hugepage.Size2M, node)
			require.NoError(t, err)
			const more = 100_000 // 200 GB: beyond what any pool has spare
			_, err = hugepage.Alloc((before.Available()+more)*int(hugepage.Size2M),
				hugepage.Options{Pages: hugepage.Size2M, Node: node, Name: "toomany"})
			var missing *hugepage.MissingError
			require.ErrorAs(t, err, &missing)
			require.Equal(t, missing.Need-missing.State.Available(), missing.Missing)
			require.ErrorContains(t, err, fmt.Sprintf("as root: echo %d > %s", missing.State.Total+missing.Missing,
				hugepage.PoolFile(hugepage.Sysfs, hugepage.Size2M, node)))
			after, err := hugepage.ReadState(hugepage.Sysfs, hugepage.Size2M, node)
			require.NoError(t, err)
			require.GreaterOrEqual(t, after.Free, 2) // nothing is left in use
		})
	}
}

func TestOneGiBPages(t *testing.T) {
	hugepagetest.Reserve(t, hugepage.Size1G, 0, 1)
	m := alloc(t, 1, hugepage.Options{Pages: hugepage.Size1G, Node: 0, Name: "giant"})
	require.Equal(t, 1<<30, m.Len())
	twice, err := m.MapTwice()
	require.NoError(t, err)
	twice[1<<30-1], twice[1<<30] = 1, 2
	require.Equal(t, byte(1), m.Bytes()[1<<30-1])
	require.Equal(t, byte(2), m.Bytes()[0])
}
