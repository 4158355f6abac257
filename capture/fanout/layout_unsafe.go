package fanout

import (
	"unsafe"

	"github.com/ixcap/ixcap/capture/stream/entry"
)

// The layout of entry.Entry for assembly.
//
//lint:file-ignore U1000 used by hashed_amd64.s
const (
	entryOffset = unsafe.Offsetof(entry.Entry{}.Offset)
	entryCaplen = unsafe.Offsetof(entry.Entry{}.Caplen)
	entryPlace  = unsafe.Offsetof(entry.Entry{}.Place)
	entryMember = unsafe.Offsetof(entry.Entry{}.Member)
	entryBytes  = unsafe.Sizeof(entry.Entry{})
)
