package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// raw writes blocks to files of a segment each, depth at a time, from memory of the
// stream's size.
func raw(o options, dir string) (result, error) {
	mem, err := unix.Mmap(-1, 0, int(o.buffer), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return result{}, fmt.Errorf("allocate %v: %w", o.buffer, err)
	}
	defer unix.Munmap(mem)
	for i := range mem {
		mem[i] = byte(i>>12 ^ i) // not zeros, which a disk may compress
	}
	return timed(func() (uint64, int, error) {
		written := int64(0)
		for n := 0; written+int64(o.block) <= int64(o.bytes); n++ {
			size := min(int64(o.segment), int64(o.bytes)-written) / int64(o.block) * int64(o.block)
			if err := rawFile(filepath.Join(dir, fmt.Sprint(n)), size, mem, o); err != nil {
				return 0, 0, err
			}
			written += size
		}
		return uint64(written), 0, nil
	})
}

// rawFile writes one file.
func rawFile(path string, size int64, mem []byte, o options) error {
	const ahead = 64 << 20 // preallocation of the storer
	mode := uint32(unix.FALLOC_FL_KEEP_SIZE)
	if o.grow {
		mode = 0
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_DIRECT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("create %s: %w", path, err)
	}
	var (
		mu             sync.Mutex // guards the following
		next, reserved int64
		failed         error
		writers        sync.WaitGroup
	)
	block := int64(o.block)
	nextBlock := func() (off int64, more bool) {
		mu.Lock()
		defer mu.Unlock()
		for reserved < min(next+block, size) && failed == nil {
			switch err := unix.Fallocate(fd, mode, reserved, min(ahead, size-reserved)); err {
			case nil, unix.EOPNOTSUPP:
				reserved += ahead
			case unix.EINTR:
			default:
				failed = err
			}
		}
		off = next
		next += block
		return off, off < size && failed == nil
	}
	for range o.depth {
		writers.Go(func() {
			for off, more := nextBlock(); more; off, more = nextBlock() {
				at := off % (int64(len(mem)) / block * block)
				n, err := unix.Pwrite(fd, mem[at:at+block], off)
				if err == nil && int64(n) < block {
					err = errors.New("short write")
				}
				if err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	return errors.Join(failed, unix.Ftruncate(fd, size), unix.Fdatasync(fd), unix.Close(fd))
}
