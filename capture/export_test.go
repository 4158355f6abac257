package capture

import "reflect"

// LedgerDocument is the type that Ledger.WriteJSON encodes.
var LedgerDocument = reflect.TypeFor[ledgerDocument]()
