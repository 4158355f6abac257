package hugepage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// faulty are the real calls, of which the n-th fails, and a count of the address
// space. The Go runtime maps memory at any time, so the lines of /proc/self/maps
// alone would not show a leaked reservation.
type faulty struct {
	calls
	failAt int // 0: none
	made   []string
	mapped int // bytes
}

var errInjected = errors.New("injected")

func newFaulty(failAt int) *faulty {
	f := &faulty{failAt: failAt}
	real := kernel()
	step := func(name string) error {
		f.made = append(f.made, name)
		if len(f.made) == f.failAt {
			return errInjected
		}
		return nil
	}
	f.calls = calls{
		memfd: func(name string, flags int) (int, error) {
			if err := step("memfd"); err != nil {
				return -1, err
			}
			return real.memfd(name, flags)
		},
		truncate: func(fd int, length int64) error {
			if err := step("truncate"); err != nil {
				return err
			}
			return real.truncate(fd, length)
		},
		mmap: func(at addr, length, prot, flags, fd int) (addr, error) {
			if err := step("mmap"); err != nil {
				return addr{}, err
			}
			p, err := real.mmap(at, length, prot, flags, fd)
			if err == nil && flags&unix.MAP_FIXED == 0 {
				f.mapped += length
			}
			return p, err
		},
		munmap: func(at addr, length int) error {
			f.mapped -= length
			return real.munmap(at, length)
		},
		mbind: func(at addr, length, node int) error {
			if err := step("mbind"); err != nil {
				return err
			}
			return real.mbind(at, length, node)
		},
		madvise: func(at addr, length, advice int) error {
			if err := step(fmt.Sprint("madvise ", advice)); err != nil {
				return err
			}
			return real.madvise(at, length, advice)
		},
		seal: func(fd, seals int) error {
			if err := step("seal"); err != nil {
				return err
			}
			return real.seal(fd, seals)
		},
		close: real.close,
	}
	return f
}

// left counts descriptors and mappings of the memfd with that name.
func left(t *testing.T, name string) (fds, maps int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err == nil && strings.Contains(target, "memfd:"+name) {
			fds++
		}
	}
	text, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return fds, strings.Count(string(text), "/memfd:"+name)
}

// use calls everything that a Memory can do.
func use(f *faulty, name string) error {
	m, err := alloc(3*4096, Options{Pages: Ordinary, Node: 0, Name: name}, f.calls, Sysfs)
	if err != nil {
		return err
	}
	_, err = m.MapTwice()
	if err == nil {
		err = m.SealFutureWrite()
	}
	return errors.Join(err, m.Close())
}

func TestEveryFailingStepLeavesNothingBehind(t *testing.T) {
	whole := newFaulty(0)
	require.NoError(t, use(whole, "fault0"))
	require.Zero(t, whole.mapped)
	require.Len(t, whole.made, 14)
	for n := 1; n <= len(whole.made); n++ {
		t.Run(fmt.Sprintf("%d %s", n, whole.made[n-1]), func(t *testing.T) {
			name := fmt.Sprintf("fault%d.", n)
			f := newFaulty(n)
			require.ErrorIs(t, use(f, name), errInjected)
			fds, maps := left(t, name)
			require.Zero(t, fds, "descriptors")
			require.Zero(t, maps, "mappings")
			require.Zero(t, f.mapped, "bytes of address space")
		})
	}
}

func TestLeftSeesWhatIsInUse(t *testing.T) {
	m, err := Alloc(1, Options{Pages: Ordinary, Node: AnyNode, Name: "inuse"})
	require.NoError(t, err)
	fds, maps := left(t, "inuse")
	require.Equal(t, []int{1, 1}, []int{fds, maps})
	_, err = m.MapTwice()
	require.NoError(t, err)
	_, maps = left(t, "inuse")
	require.Equal(t, 3, maps)
	require.NoError(t, m.Close())
	fds, maps = left(t, "inuse")
	require.Zero(t, fds+maps)
}

func TestMapTwiceCanBeRetriedAfterAFailure(t *testing.T) {
	f := newFaulty(0)
	m, err := alloc(1, Options{Pages: Ordinary, Node: AnyNode, Name: "retry"}, f.calls, Sysfs)
	require.NoError(t, err)
	f.failAt = len(f.made) + 3 // the second copy, or its populating
	_, err = m.MapTwice()
	require.ErrorIs(t, err, errInjected)
	twice, err := m.MapTwice()
	require.NoError(t, err)
	twice[0] = 9
	require.Equal(t, byte(9), twice[m.Len()])
	require.NoError(t, m.Close())
	require.Zero(t, f.mapped)
}

func TestRefusalsByTheKernelAreExplained(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*calls)
		node  int
		want  string
	}{
		{"old kernel", func(k *calls) {
			k.madvise = func(addr, int, int) error { return unix.EINVAL }
		}, AnyNode, "which needs Linux 5.14"},
		{"populate refused though pages are free, as by a cgroup", func(k *calls) {
			k.madvise = func(addr, int, int) error { return unix.EFAULT }
		}, 0, "populate: bad address"},
		{"kernel without NUMA, node 0", func(k *calls) {
			k.mbind = func(addr, int, int) error { return unix.ENOSYS }
		}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := kernel()
			c.spoil(&k)
			m, err := alloc(1, Options{Pages: Ordinary, Node: c.node, Name: "refused"}, k, Sysfs)
			if c.want == "" {
				require.NoError(t, err)
				require.NoError(t, m.Close())
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}
