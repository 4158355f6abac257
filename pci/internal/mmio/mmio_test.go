package mmio

import (
	"debug/elf"
	"debug/gosym"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStoreAndLoadAccessFourBytes(t *testing.T) {
	for _, v := range []uint32{0, 1, 0x80000000, 0xdeadbeef, 0xffffffff} {
		regs := [3]uint32{0x11111111, 0x22222222, 0x33333333}
		Store32(&regs[1], v)
		require.Equal(t, [3]uint32{0x11111111, v, 0x33333333}, regs)
		require.Equal(t, v, Load32(&regs[1]))
	}
}

// A locked instruction would be a device read. The machine code of the function, from the
// test binary, must be one store.
func TestStoreIsOneMOVOnAMD64(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: compares machine code")
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	f, err := elf.Open(exe)
	require.NoError(t, err)
	defer f.Close()
	text := f.Section(".text")
	lines, err := f.Section(".gopclntab").Data()
	require.NoError(t, err)
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, text.Addr))
	require.NoError(t, err)

	const movs = "\x48\x8b\x44\x24\x08" + // MOVQ p+0(FP), AX
		"\x8b\x4c\x24\x10" + // MOVL v+8(FP), CX
		"\x89\x08" + // MOVL CX, (AX)
		"\xc3" // RET
	var found []string
	for _, fn := range table.Funcs {
		if fn.Name != "github.com/ixcap/ixcap/pci/internal/mmio.Store32" {
			continue
		}
		code := make([]byte, fn.End-fn.Entry)
		_, err := text.ReadAt(code, int64(fn.Entry-text.Addr))
		require.NoError(t, err)
		require.NotContains(t, string(code), "\xf0", "LOCK prefix")
		found = append(found, string(code))
	}
	// The compiler's wrapper, which stores arguments on the stack, has the same name.
	require.True(t, slices.ContainsFunc(found, func(code string) bool { return strings.HasPrefix(code, movs) }), "%x", found)
}

// The store of a doorbell is visible after the store of a descriptor.
func TestStoreComesAfterEarlierStores(t *testing.T) {
	type slot struct {
		descriptor uint32
		_          [60]byte // a cache line of its own
		doorbell   uint32
	}
	var s slot
	const rounds = 200_000
	done := make(chan bool)
	go func() {
		ok := true
		for seen := uint32(0); seen < rounds; {
			seen = Load32(&s.doorbell) // M2 acquires what M1 released
			ok = ok && Load32(&s.descriptor) >= seen
		}
		done <- ok
	}()
	for i := uint32(1); i <= rounds; i++ {
		Store32(&s.descriptor, i)
		Store32(&s.doorbell, i)
	}
	require.True(t, <-done)
}

func TestAccessesDoNotAllocate(t *testing.T) {
	reg := new(uint32)
	require.Zero(t, testing.AllocsPerRun(100, func() { Store32(reg, Load32(reg)+1) }))
}

func BenchmarkStore32(b *testing.B) {
	reg := new(uint32)
	for b.Loop() {
		Store32(reg, 1)
	}
}

func BenchmarkLoad32(b *testing.B) {
	reg := new(uint32)
	for b.Loop() {
		Load32(reg)
	}
}
