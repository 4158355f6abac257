package vfio

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzRegionInfo(f *testing.F) {
	c := newCardBytes()
	f.Add(c)
	f.Add(c[:regionInfoSize])
	loop := append([]byte(nil), c...)
	order.PutUint32(loop[36:], 32) // next is itself
	f.Add(loop)
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := parseRegionInfo(b)
		if err != nil {
			return
		}
		for _, a := range mappable(info, area{0x1000, 1024}, 4096) {
			require.Zero(t, a.first%4096)
			require.Zero(t, a.size%4096)
			require.NotZero(t, a.size)
			require.LessOrEqual(t, a.first+a.size, info.size)
			require.False(t, a.first < 0x1400 && 0x1000 < a.first+a.size, "the MSI-X table")
		}
	})
}

// newCardBytes is struct vfio_region_info of BAR 4 with a sparse mmap capability.
func newCardBytes() []byte {
	b := words(80, regionFlagRead|regionFlagMmap|regionFlagCaps, 4, 32)
	b = order.AppendUint64(b, 16<<10)
	b = order.AppendUint64(b, 4<<40)
	b = append(b, words(1|1<<16, 0, 2, 0)...)
	for _, v := range []uint64{0, 0x1000, 0x2000, 0x2000} {
		b = order.AppendUint64(b, v)
	}
	return b
}

func FuzzIOMMUInfo(f *testing.F) {
	b := words(56, iommuFlagPageSizes|iommuFlagCaps, 4096, 0, 24, 0, 1|1<<16, 0, 1, 0, 0x100000, 0, 0xfedfffff, 0)
	f.Add(b)
	f.Add(b[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := parseIOMMUInfo(b)
		if err != nil {
			return
		}
		for _, r := range info.ranges {
			require.LessOrEqual(t, r.First, r.Last)
		}
		require.LessOrEqual(t, len(info.ranges)*16, len(b))
	})
}

func FuzzConfigurationSpace(f *testing.F) {
	b := make([]byte, 256)
	binary.LittleEndian.PutUint16(b[statusAt:], statusCaps)
	b[capsAt], b[0x40], b[0x41] = 0x40, capPower, 0x70
	b[0x70], b[0x72], b[0x74] = capMSIX, 63, 4
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		msix, pm, err := parseCapabilities(b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, msix.bar, 7)
		require.LessOrEqual(t, pm+2, int64(max(len(b), 2)))
		require.LessOrEqual(t, msix.size, uint64(2048*16))
	})
}

func TestInvalidResultsAreRejected(t *testing.T) {
	good := newCardBytes()
	for name, c := range map[string]struct {
		set  func(b []byte)
		want string
	}{
		"outside":  {func(b []byte) { order.PutUint32(b[12:], 100) }, "capability at byte 100 of 80"},
		"odd":      {func(b []byte) { order.PutUint32(b[12:], 33) }, "capability at byte 33 of 80"},
		"loop":     {func(b []byte) { order.PutUint32(b[36:], 32) }, "loop in the capability chain"},
		"too many": {func(b []byte) { order.PutUint32(b[40:], 3) }, "3 entries in 32 bytes"},
		"area":     {func(b []byte) { order.PutUint64(b[72:], 0x2001) }, "area 0x2000+0x2001 outside the region's 0x4000 bytes"},
		"huge":     {func(b []byte) { order.PutUint64(b[16:], 1<<63) }, "0x8000000000000000 bytes"},
		"far":      {func(b []byte) { order.PutUint64(b[24:], 1<<63-1) }, "of the device's file"},
	} {
		t.Run(name, func(t *testing.T) {
			b := append([]byte(nil), good...)
			c.set(b)
			_, err := parseRegionInfo(b)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := parseRegionInfo(good[:31])
	require.ErrorContains(t, err, "31 bytes")
	_, err = parseIOMMUInfo(words(1, 2))
	require.ErrorContains(t, err, "8 bytes")
}
