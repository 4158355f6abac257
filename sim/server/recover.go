package server

import (
	"fmt"
	"runtime/debug"
)

// Fault is the error of Recover: an access to mapped memory failed.
type Fault struct {
	Addr uintptr // in this process
}

func (f *Fault) Error() string {
	return fmt.Sprintf("memory fault at %#x: the client truncated its memory", f.Addr)
}

// Recover runs f and returns a *Fault if f accesses client memory that is no longer
// backed: a client can truncate the file of a mapped range, and an access then
// raises SIGBUS, which would end the process. Other panics are passed on.
//
// A device thread runs the loop over its descriptors in Recover, not each access:
// a call costs some nanoseconds. A fault ends f where it happened, so f must release
// its locks by defer. Accesses on other goroutines are not covered.
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
