package hugepage

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fixture builds a sysfs of two nodes; files not in the map contain 0.
func fixture(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text+"\n"), 0o644))
	}
	for _, size := range []string{"hugepages-2048kB", "hugepages-1048576kB"} {
		for _, f := range []string{"nr_hugepages", "free_hugepages", "surplus_hugepages", "resv_hugepages"} {
			write(filepath.Join("kernel/mm/hugepages", size, f), "0")
			if f != "resv_hugepages" {
				write(filepath.Join("devices/system/node/node0/hugepages", size, f), "0")
				write(filepath.Join("devices/system/node/node1/hugepages", size, f), "0")
			}
		}
	}
	write("devices/system/node/online", "0-1")
	for name, text := range files {
		write(name, text)
	}
	return root
}

const (
	all2M   = "kernel/mm/hugepages/hugepages-2048kB/"
	node1   = "devices/system/node/node1/hugepages/hugepages-2048kB/"
	node1Gi = "devices/system/node/node1/hugepages/hugepages-1048576kB/"
)

func TestReadStatePerNodeAndMachine(t *testing.T) {
	root := fixture(t, map[string]string{
		node1 + "nr_hugepages": "64", node1 + "free_hugepages": "10", node1 + "surplus_hugepages": "2",
		all2M + "nr_hugepages": "100", all2M + "free_hugepages": "30", all2M + "resv_hugepages": "7",
	})
	s, err := ReadState(root, Size2M, 1)
	require.NoError(t, err)
	require.Equal(t, State{Size: Size2M, Node: 1, Total: 64, Free: 10, Surplus: 2}, s)
	s, err = ReadState(root, Size2M, AnyNode)
	require.NoError(t, err)
	require.Equal(t, State{Size: Size2M, Node: AnyNode, Total: 100, Free: 30, Reserved: 7}, s)
	require.Equal(t, 23, s.Available())
}

func TestReadStateOfKernelWithoutNUMA(t *testing.T) {
	root := fixture(t, map[string]string{all2M + "nr_hugepages": "5"})
	require.NoError(t, os.RemoveAll(filepath.Join(root, "devices")))
	s, err := ReadState(root, Size2M, 0)
	require.NoError(t, err)
	require.Equal(t, 5, s.Total)
	require.Equal(t, filepath.Join(root, all2M, "nr_hugepages"), PoolFile(root, Size2M, 0))
}

func TestReadStateErrorsNameWhatIsMissing(t *testing.T) {
	root := fixture(t, map[string]string{node1 + "free_hugepages": "many"})
	require.NoError(t, os.RemoveAll(filepath.Join(root, "kernel/mm/hugepages/hugepages-1048576kB")))
	for _, c := range []struct {
		size Size
		node int
		want string
	}{
		{Ordinary, 0, "ordinary pages have no pool"},
		{Size2M, 7, "no NUMA node 7 (online: 0-1)"},
		{Size1G, AnyNode, "no pages of 1GiB"},
		{Size2M, 1, `free_hugepages: strconv.Atoi: parsing "many"`},
	} {
		_, err := ReadState(root, c.size, c.node)
		require.ErrorContains(t, err, c.want)
	}
}

func TestMissingPagesAreCountedAndTheCommandNamesTheTotal(t *testing.T) {
	root := fixture(t, map[string]string{
		node1 + "nr_hugepages": "64", node1 + "free_hugepages": "10",
		node1Gi + "nr_hugepages": "1", node1Gi + "free_hugepages": "1",
		all2M + "nr_hugepages": "100", all2M + "free_hugepages": "30", all2M + "resv_hugepages": "4",
	})
	for _, c := range []struct {
		size       Size
		node, need int
		want       string
	}{
		{Size2M, 1, 6, ""}, // 10 free, of which 4 may be reserved
		{Size2M, AnyNode, 26, ""},
		{Size2M, 1, 20, "14 of 20 huge pages of 2MiB are missing on NUMA node 1 (6 free); reserve them as root: echo 78 > " +
			filepath.Join(root, node1, "nr_hugepages")},
		{Size2M, AnyNode, 50, "24 of 50 huge pages of 2MiB are missing on this machine (26 free); reserve them as root: echo 124 > " +
			filepath.Join(root, all2M, "nr_hugepages")},
		{Size1G, 1, 3, "2 of 3 huge pages of 1GiB are missing on NUMA node 1 (1 free); reserve them as root: echo 3 > " +
			filepath.Join(root, node1Gi, "nr_hugepages") + "; if too few come, boot with hugepagesz=1G hugepages=3"},
	} {
		t.Run(fmt.Sprint(c.size, c.node, c.need), func(t *testing.T) {
			missing := diagnose(root, c.size, c.node, c.need)
			if c.want == "" {
				require.Nil(t, missing)
				return
			}
			missing.For = "rx buffers"
			require.EqualError(t, missing, "allocate rx buffers: "+c.want)
		})
	}
}

// A node with fewer pages than the machine: the kernel grants the mapping and
// refuses the pages.
func TestNodeWithTooFewPagesFailsWhenPopulating(t *testing.T) {
	root := fixture(t, map[string]string{node1 + "nr_hugepages": "2", node1 + "free_hugepages": "2"})
	k := kernel()
	memfd := k.memfd
	k.memfd = func(name string, _ int) (int, error) { return memfd(name, unix.MFD_CLOEXEC) } // stands in for huge pages
	k.mbind = func(addr, int, int) error { return nil }
	k.madvise = func(addr, int, int) error { return unix.EFAULT }
	_, err := alloc(5*int(Size2M), Options{Pages: Size2M, Node: 1, Name: "rx"}, k, root)
	require.ErrorIs(t, err, unix.EFAULT)
	require.ErrorContains(t, err, "allocate rx: 3 of 5 huge pages of 2MiB are missing on NUMA node 1 (2 free); reserve them as root: echo 5 > ")
	fds, maps := left(t, "rx")
	require.Zero(t, fds+maps)
}

// The same on the real kernel: MAP_NORESERVE grants pages that do not exist, as a
// second node would. Accessing them would be a SIGBUS.
func TestMissingPagesAreReportedByTheKernel(t *testing.T) {
	s, err := ReadState(Sysfs, Size2M, AnyNode)
	if err != nil {
		t.Skipf("a kernel with 2 MiB pages is needed: %v", err)
	}
	k := kernel()
	mmap := k.mmap
	k.mmap = func(at addr, length, prot, flags, fd int) (addr, error) {
		return mmap(at, length, prot, flags|unix.MAP_NORESERVE, fd)
	}
	_, err = alloc((s.Available()+100)*int(Size2M), Options{Pages: Size2M, Node: AnyNode, Name: "holes"}, k, Sysfs)
	require.ErrorIs(t, err, unix.EFAULT)
	require.ErrorContains(t, err, "huge pages of 2MiB are missing on this machine")
	fds, maps := left(t, "holes")
	require.Zero(t, fds+maps)
}

func TestParsePagesAcceptsWhatStringReturns(t *testing.T) {
	for name, size := range map[string]Size{"ordinary": Ordinary, "2MiB": Size2M, "1GiB": Size1G} {
		got, err := ParsePages(name)
		require.NoError(t, err)
		require.Equal(t, size, got)
		require.Equal(t, name, size.String())
	}
	for _, name := range []string{"", "2M", "2mib", "4MiB", "huge", "Ordinary"} {
		_, err := ParsePages(name)
		require.EqualError(t, err, fmt.Sprintf("page size %q: want ordinary, 2MiB or 1GiB", name))
	}
}
