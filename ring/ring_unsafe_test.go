package ring

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestDescriptorsAre16Bytes(t *testing.T) {
	require.EqualValues(t, DescriptorSize, unsafe.Sizeof(RxDescriptor{}))
	require.EqualValues(t, DescriptorSize, unsafe.Sizeof(TxDescriptor{}))
	require.EqualValues(t, 64, unsafe.Sizeof(Frame{}), "a Frame is a cache line")
}

// aligned is n zeroed bytes at a multiple of 8, on the Go heap and kept alive by
// the slice.
func aligned(n int) []byte {
	words := make([]uint64, (n+7)/8+1)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	return b[:n:n]
}
