package server

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// fileTable holds the files of a client's shared ranges. All ranges of a file share
// one mapping of the whole file: a VM's memory is one file, of which an IOMMU maps
// thousands of single pages, and a process has at most 65530 mappings. The dmaTable
// decides which part of it the device may access.
type fileTable struct {
	views  map[fileKey][]*fileView
	count  int    // views
	mapped uint64 // bytes of views of whole files
}

// maxViews limits a client's mappings: at the process's limit Go's heap cannot grow,
// which ends the process.
const maxViews = 4096

// fileKey identifies a file while it is open or mapped.
type fileKey struct{ dev, ino uint64 }

// fileView is a mapping of a file, whole or in part.
type fileView struct {
	table    *fileTable
	key      fileKey
	mapping  *proto.Mapping
	offset   uint64 // in the file
	writable bool
	ranges   int
	whole    bool
}

// share maps size bytes of fd's file from offset, readable and, if write is set,
// writable. The caller keeps fd. The view must be released.
func (t *fileTable) share(fd int, offset, size uint64, write bool) ([]byte, *fileView, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, nil, fmt.Errorf("stat: %w", err)
	}
	mode, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("fcntl F_GETFL: %w", err)
	}
	canWrite := mode&unix.O_ACCMODE == unix.O_RDWR
	if write && !canWrite {
		return nil, nil, fmt.Errorf("descriptor is not open for writing: %w", syscall.EACCES)
	}
	end, length := offset+size, uint64(max(st.Size, 0))
	if size == 0 || end < offset || end > length {
		return nil, nil, fmt.Errorf("%#x bytes at %#x of a file of %#x: %w", size, offset, length, syscall.EINVAL)
	}
	key := fileKey{st.Dev, st.Ino}
	for _, v := range t.views[key] {
		if v.covers(offset, size) && (v.writable || !write) {
			v.ranges++
			return v.bytes(offset, size), v, nil
		}
	}
	if t.count >= maxViews {
		return nil, nil, fmt.Errorf("%d files are mapped already: %w", t.count, syscall.ENOSPC)
	}
	v, err := t.view(fd, key, length, canWrite, write)
	if err != nil {
		if v, err = t.part(fd, key, offset, size, write); err != nil {
			return nil, nil, err
		}
	}
	if t.views == nil {
		t.views = map[fileKey][]*fileView{}
	}
	t.views[key] = append(t.views[key], v)
	t.count++
	v.ranges++
	return v.bytes(offset, size), v, nil
}

// view maps a whole file, writable if possible, since later ranges may be writable.
func (t *fileTable) view(fd int, key fileKey, length uint64, canWrite, write bool) (*fileView, error) {
	if length > maxMapped-t.mapped {
		return nil, syscall.ENOSPC
	}
	v := &fileView{table: t, key: key, whole: true}
	var err error
	if canWrite {
		v.mapping, err = proto.Map(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE)
		v.writable = err == nil
	}
	if !v.writable {
		if write { // the file may be sealed against writing
			return nil, err
		}
		if v.mapping, err = proto.Map(fd, 0, length, unix.PROT_READ); err != nil {
			return nil, err
		}
	}
	t.mapped += length
	return v, nil
}

// part maps one range of a file that cannot be mapped as a whole.
func (t *fileTable) part(fd int, key fileKey, offset, size uint64, write bool) (*fileView, error) {
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	m, err := proto.Map(fd, offset, size, prot)
	if err != nil {
		return nil, err
	}
	return &fileView{table: t, key: key, mapping: m, offset: offset, writable: write}, nil
}

func (v *fileView) covers(offset, size uint64) bool {
	return offset >= v.offset && offset+size <= v.offset+uint64(len(v.mapping.Bytes()))
}

func (v *fileView) bytes(offset, size uint64) []byte {
	from := offset - v.offset
	return v.mapping.Bytes()[from : from+size : from+size]
}

// release releases one range; the last one unmaps the file. A nil view belongs to a
// range without shared memory.
func (v *fileView) release() {
	if v == nil {
		return
	}
	if v.ranges--; v.ranges > 0 {
		return
	}
	t := v.table
	t.count--
	if v.whole {
		t.mapped -= uint64(len(v.mapping.Bytes()))
	}
	_ = v.mapping.Close() // fails only for a range that is not mapped
	views := t.views[v.key]
	for i, other := range views {
		if other == v {
			views = append(views[:i], views[i+1:]...)
			break
		}
	}
	if len(views) == 0 {
		delete(t.views, v.key)
	} else {
		t.views[v.key] = views
	}
}
