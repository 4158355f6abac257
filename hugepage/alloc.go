package hugepage

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// Alloc returns at least that many bytes of zeroed memory, rounded up to whole
// pages. All of it is populated: accessing it later neither fails nor faults a
// page in. If huge pages are missing, the error is a *MissingError with their
// number and the command that reserves them.
func Alloc(bytes int, o Options) (*Memory, error) {
	return alloc(bytes, o, kernel(), Sysfs)
}

// allocation is a Memory in the making.
type allocation struct {
	bytes  int // asked for
	opt    Options
	name   string
	page   int // bytes
	length int // whole pages
	sys    calls
	sysfs  string

	fd     int // -1: not created
	at     addr
	mapped bool
}

func alloc(bytes int, o Options, sys calls, sysfs string) (*Memory, error) {
	a := &allocation{bytes: bytes, opt: o, name: o.Name, sys: sys, sysfs: sysfs, fd: -1}
	for _, step := range []func() error{
		a.check, a.checkFree, a.create, a.mapPages, a.bind, a.populate, a.excludeFromDumps,
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, a.undo())
		}
	}
	return &Memory{name: a.name, fd: a.fd, pageSize: a.page, node: o.Node, at: a.at, length: a.length, sys: sys}, nil
}

// check validates the request.
func (a *allocation) check() (err error) {
	if a.name == "" {
		a.name = "ixcap"
	}
	if a.page, err = a.opt.Pages.Bytes(); err != nil {
		return fmt.Errorf("allocate memory for %s: %w", a.name, err)
	}
	if a.bytes <= 0 || a.bytes > math.MaxInt-a.page {
		return fmt.Errorf("allocate memory for %s: %d bytes: want 1 to %d", a.name, a.bytes, math.MaxInt-a.page)
	}
	if n := a.opt.Node; n != AnyNode && (n < 0 || n >= maxNodes) {
		return fmt.Errorf("allocate memory for %s: NUMA node %d: want 0 to %d, or %d for any", a.name, n, maxNodes-1, AnyNode)
	}
	a.length = (a.bytes + a.page - 1) / a.page * a.page
	return nil
}

func (a *allocation) checkFree() error {
	return a.fail("check free memory", enough(a.opt.Pages, a.length))
}

// create makes the memfd with its final size.
func (a *allocation) create() error {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	switch a.opt.Pages {
	case Size2M:
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_2MB
	case Size1G:
		flags |= unix.MFD_HUGETLB | unix.MFD_HUGE_1GB
	}
	fd, err := a.sys.memfd(a.name, flags)
	if err != nil {
		if a.opt.Pages != Ordinary && !supported(a.sysfs, a.opt.Pages) {
			err = fmt.Errorf("%w: this kernel or processor has no pages of that size", err)
		}
		return a.fail("memfd_create", err)
	}
	a.fd = fd
	return a.fail("ftruncate", a.sys.truncate(fd, int64(a.length)))
}

// mapPages maps the memfd. The kernel reserves huge pages here, on any node.
func (a *allocation) mapPages() error {
	at, err := a.sys.mmap(addr{}, a.length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, a.fd)
	if err != nil {
		if errors.Is(err, unix.ENOMEM) {
			return a.missing("mmap", err)
		}
		return a.fail("mmap", err)
	}
	a.at, a.mapped = at, true
	return nil
}

// bind restricts the pages to the NUMA node.
func (a *allocation) bind() error {
	if a.opt.Node == AnyNode {
		return nil
	}
	err := a.sys.mbind(a.at, a.length, a.opt.Node)
	if a.opt.Node == 0 && errors.Is(err, unix.ENOSYS) {
		return nil // a kernel built without NUMA has one node and no such call
	}
	if err != nil {
		return a.fail(fmt.Sprintf("bind to NUMA node %d (online: %s)", a.opt.Node, onlineNodes(a.sysfs)), err)
	}
	return nil
}

// populate allocates all pages.
func (a *allocation) populate() error {
	err := populate(a.sys, a.at, a.length)
	if !errors.Is(err, unix.EFAULT) && !errors.Is(err, unix.ENOMEM) {
		return a.fail("populate", err)
	}
	// The pages populated so far are freed first, so that the pool's counts are right.
	if undo := errors.Join(a.unmap(), a.sys.truncate(a.fd, 0)); undo != nil {
		return a.fail("populate", errors.Join(err, undo))
	}
	return a.missing("populate", err)
}

func (a *allocation) excludeFromDumps() error {
	return a.fail("keep out of core dumps", a.sys.madvise(a.at, a.length, unix.MADV_DONTDUMP))
}

// fail wraps the error of a step; nil stays nil.
func (a *allocation) fail(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("allocate %d bytes of %s pages for %s: %s: %w", a.bytes, a.opt.Pages, a.name, step, err)
}

// missing is fail for errors that too few huge pages can cause: if that is so, it
// returns a *MissingError.
func (a *allocation) missing(step string, err error) error {
	if a.opt.Pages == Ordinary {
		return a.fail(step, err)
	}
	if m := diagnose(a.sysfs, a.opt.Pages, a.opt.Node, a.length/a.page); m != nil {
		m.For, m.err = a.name, err
		return m
	}
	return a.fail(step, err)
}

func (a *allocation) unmap() error {
	if !a.mapped {
		return nil
	}
	a.mapped = false
	return a.sys.munmap(a.at, a.length)
}

// undo releases what the steps so far have acquired.
func (a *allocation) undo() error {
	err := a.unmap()
	if a.fd >= 0 {
		err = errors.Join(err, a.sys.close(a.fd))
	}
	return err
}

// populate makes every page of a mapping present and writable.
func populate(sys calls, at addr, length int) error {
	err := sys.madvise(at, length, unix.MADV_POPULATE_WRITE)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("madvise(MADV_POPULATE_WRITE), which needs Linux 5.14: %w", err)
	}
	return err
}
