package capture

import (
	"unsafe"

	"github.com/ixcap/ixcap/ring"
)

// frameBytes and dataOffset tell the assembly where in a slice of frames the
// first words of Data are (through go_asm.h).
//
//lint:file-ignore U1000 used by poller_prefetch_amd64.s
const (
	frameBytes = unsafe.Sizeof(ring.Frame{})
	dataOffset = unsafe.Offsetof(ring.Frame{}.Data)
)
