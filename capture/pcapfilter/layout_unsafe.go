package pcapfilter

import (
	"unsafe"

	"github.com/ixcap/ixcap/ring"
)

// The layout of ring.Frame for assembly. Data is a slice: address, length, capacity.
//
//lint:file-ignore U1000 used by batch_amd64.s
const (
	frameData    = unsafe.Offsetof(ring.Frame{}.Data)
	frameDataLen = frameData + unsafe.Sizeof(uintptr(0))
	frameBytes   = unsafe.Sizeof(ring.Frame{})
)
