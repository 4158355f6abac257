package dedup

import (
	"unsafe"

	"github.com/ixcap/ixcap/ring"
)

// The layout of ring.Frame for assembly.
//
//lint:file-ignore U1000 used by batch_amd64.s
const (
	frameData    = unsafe.Offsetof(ring.Frame{}.Data)
	frameDataLen = frameData + unsafe.Sizeof(uintptr(0))
	frameLen     = unsafe.Offsetof(ring.Frame{}.Len)
	frameVLAN    = unsafe.Offsetof(ring.Frame{}.VLAN) // Info follows
	frameBytes   = unsafe.Sizeof(ring.Frame{})

	tagInfo = uint32(ring.Stripped|ring.HasVLAN) << 16 // where VLAN and Info are one word
)
