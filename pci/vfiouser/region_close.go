package vfiouser

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// close gives mapped memory and descriptors back. Accesses under way end first;
// what one that does not end still uses is left to the process's end.
func (r *region) close() (err error) {
	for _, a := range r.areas {
		if !a.open.close(r.d.timeout, func() {}) {
			err = errors.Join(err, r.busy("mapped area", a.first))
			continue
		}
		err = errors.Join(err, a.mem.Close())
	}
	free := true
	for off, b := range r.bells {
		if !b.open.close(r.d.timeout, b.event.Drain) {
			err = errors.Join(err, r.busy("doorbell", uint64(off)))
			free = false
		}
	}
	if !free {
		return err
	}
	return errors.Join(err, r.files.close())
}

func (r *region) busy(what string, off uint64) error {
	return fmt.Errorf("%s: region %d: an access to the %s at %#x has not ended within %v", r.d.name, r.Index, what, off, r.d.timeout)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
