package server

import (
	"fmt"
	"runtime/debug"
)

// Fault is the error of Recover: memory that was mapped could not be reached.
type Fault struct {
	Addr uintptr // in this process
}

func (f *Fault) Error() string {
	return fmt.Sprintf("memory fault at %#x: the client took its memory away", f.Addr)
}

// Recover runs f, and returns a *Fault when f touches client memory that is no
// longer there: a client may cut the file behind a range that it has mapped,
// and the kernel then answers an access with SIGBUS, which would end the
// process. Other panics pass through.
//
// A device thread wraps the loop over its descriptors in Recover, not each
// access: entering costs some nanoseconds. f is abandoned where the fault
// happened, so it must not hold a lock that it does not release by defer.
// Accesses on another goroutine than the one in Recover are not covered.
func Recover(f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			addressed, ok := r.(interface {
				error
				Addr() uintptr
			})
			if !ok {
				panic(r)
			}
			err = &Fault{addressed.Addr()}
		}
	}()
	return f()
}
