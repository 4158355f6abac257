package capture

import (
	"reflect"

	"github.com/ixcap/ixcap/capture/sched"
)

// LedgerDocument is the type that Ledger.WriteJSON encodes.
var LedgerDocument = reflect.TypeFor[ledgerDocument]()

// SetCore changes the core of a queue's poller, without a check.
func SetCore(e *Engine, queue, core int) {
	e.pollers[queue].monitor = sched.NewMonitor(sched.Config{Core: core, Clock: e.pollers[queue].stamper})
}
