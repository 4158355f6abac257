package capture

import (
	"unsafe"

	"github.com/ixcap/ixcap/ring"
)

// frameBytes and dataOffset tell the assembly where in a slice of frames the
// first words of Data are (through go_asm.h).
const (
	frameBytes = unsafe.Sizeof(ring.Frame{})
	dataOffset = unsafe.Offsetof(ring.Frame{}.Data)
)
