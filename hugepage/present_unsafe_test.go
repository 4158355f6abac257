package hugepage_test

import (
	"encoding/binary"
	"os"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// present counts the ordinary pages of mem that this process's page tables hold
// (bit 63 of /proc/self/pagemap). Only the address of mem is used, as a number.
func present(t *testing.T, mem []byte) (pages int) {
	f, err := os.Open("/proc/self/pagemap")
	require.NoError(t, err)
	defer f.Close()
	first := uintptr(unsafe.Pointer(unsafe.SliceData(mem))) / uintptr(os.Getpagesize())
	entries := make([]byte, 8*len(mem)/os.Getpagesize())
	_, err = f.ReadAt(entries, int64(first)*8)
	require.NoError(t, err)
	for i := 0; i < len(entries); i += 8 {
		pages += int(binary.LittleEndian.Uint64(entries[i:]) >> 63)
	}
	return pages
}
