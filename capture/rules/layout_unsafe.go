package rules

import (
	"unsafe"

	"github.com/ixcap/ixcap/ring"
)

// The layout of ring.Frame for assembly.
//
//lint:file-ignore U1000 used by prepare_amd64.s
const (
	frameData  = unsafe.Offsetof(ring.Frame{}.Data)
	frameRest  = unsafe.Offsetof(ring.Frame{}.Rest)
	frameLen   = unsafe.Offsetof(ring.Frame{}.Len)
	frameVLAN  = unsafe.Offsetof(ring.Frame{}.VLAN) // Info follows
	frameBytes = unsafe.Sizeof(ring.Frame{})

	strippedInfo = uint32(ring.Stripped) << 16 // where VLAN and Info are one word
)
