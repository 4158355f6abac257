package vfiouser

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// close unmaps memory and closes descriptors after the running accesses have ended. If an
// access does not end in time, its memory stays mapped.
func (r *region) close() (err error) {
	for _, a := range r.areas {
		if !a.gate.close(r.d.timeout, func() {}) {
			err = errors.Join(err, r.busy("mapped area", a.first))
			continue
		}
		err = errors.Join(err, a.mem.Close())
	}
	idle := true
	for off, b := range r.bells {
		if !b.gate.close(r.d.timeout, b.event.Drain) {
			err = errors.Join(err, r.busy("doorbell", uint64(off)))
			idle = false
		}
	}
	if !idle {
		return err
	}
	return errors.Join(err, r.files.close())
}

func (r *region) busy(what string, off uint64) error {
	return fmt.Errorf("%s: region %d: an access to the %s at %#x did not end within %v", r.d.name, r.Index, what, off, r.d.timeout)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}
