package proto

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHeaderHasTheSpecifiedLayout(t *testing.T) {
	h := Header{ID: 0x1122, Command: SetIRQs, Size: 0x33445566, Flags: TypeReply | ErrorFlag, Errno: uint32(syscall.EPERM)}
	b := h.Append(nil)
	require.Len(t, b, HeaderSize)
	n := binary.NativeEndian
	require.Equal(t, uint16(0x1122), n.Uint16(b))
	require.Equal(t, uint16(8), n.Uint16(b[2:]))
	require.Equal(t, uint32(0x33445566), n.Uint32(b[4:]))
	require.Equal(t, uint32(0x21), n.Uint32(b[8:]))
	require.Equal(t, uint32(1), n.Uint32(b[12:]))
	back, err := ParseHeader(b)
	require.NoError(t, err)
	require.Equal(t, h, back)
	require.True(t, back.IsReply())
	require.ErrorIs(t, back.Err(), syscall.EPERM)
	_, err = ParseHeader(b[:15])
	require.Error(t, err)
	require.ErrorIs(t, Header{Flags: ErrorFlag}.Err(), syscall.EIO)
	require.ErrorIs(t, Header{Flags: ErrorFlag, Errno: 1 << 31}.Err(), syscall.EINVAL)
	require.NoError(t, Header{Errno: 5}.Err())
	require.Equal(t, "DMA_READ", DMARead.String())
	require.Equal(t, "command 14", Command(14).String())
}

// layouts are a body of each kind, its length in the specification, and a function that
// decodes and encodes it.
var layouts = []struct {
	name  string
	size  int // without variable parts
	body  []byte
	again func(b []byte) ([]byte, error)
}{
	{"device info", 16, DeviceInfo{16, 3, 9, 5}.Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseDeviceInfo(b)
		return m.Append(nil), err
	}},
	{"irq info", 16, IRQInfo{16, 7, 2, 64}.Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseIRQInfo(b)
		return m.Append(nil), err
	}},
	{"irq set", 20, IRQSet{22, IRQDataBool | IRQActionMask, 2, 4, 2, []byte{1, 0}}.Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseIRQSet(b)
		return m.Append(nil), err
	}},
	{"region info", 32, RegionInfo{ArgSize: 32, Flags: 3, Index: 1, Size: 1 << 40, Offset: 1 << 41}.Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseRegionInfo(b)
		return m.Append(nil), err
	}},
	{"region access", 16, RegionAccess{1 << 33, 7, 4}.Append(nil), func(b []byte) ([]byte, error) {
		m, _, err := ParseRegionAccess(b)
		return m.Append(nil), err
	}},
	{"dma access", 16, DMAAccess{1 << 34, 1 << 12}.Append(nil), func(b []byte) ([]byte, error) {
		m, _, err := ParseDMAAccess(b)
		return m.Append(nil), err
	}},
	{"dma map", 32, MapDMA{32, 3, 4096, 1 << 35, 8192}.Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseMapDMA(b)
		return m.Append(nil), err
	}},
	{"dma unmap", 24, UnmapDMA{24, 0, 1 << 35, 8192}.Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseUnmapDMA(b)
		return m.Append(nil), err
	}},
	{"region io fds", 16, RegionFDs{16 + 48, 0, 0, 1, []RegionFD{{0x1018, 4, 1, KindShadowIOEventFD, 0, 2, 64, 0}}}.Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseRegionFDs(b)
		return m.Append(nil), err
	}},
	{"version", 4, Proposal().Append(nil), func(b []byte) ([]byte, error) {
		m, err := ParseVersion(b)
		return m.Append(nil), err
	}},
}

func TestBodiesRoundTripAndShortBodiesAreErrors(t *testing.T) {
	for _, c := range layouts {
		t.Run(c.name, func(t *testing.T) {
			again, err := c.again(c.body)
			require.NoError(t, err)
			require.Equal(t, c.body, again)
			for n := range c.size {
				_, err := c.again(c.body[:n:n])
				require.ErrorIs(t, err, syscall.EINVAL, n)
			}
		})
	}
}

func TestSparseAreasRoundTrip(t *testing.T) {
	m := RegionInfo{Flags: RegionFlagMmap | RegionFlagCaps, Index: 2, Size: 1 << 20, Sparse: []Area{{0x1000, 0x1000}, {0x4000, 0x8000}}}
	m.ArgSize = m.FullSize()
	b := m.Append(nil)
	require.Len(t, b, 32+16+2*16)
	back, err := ParseRegionInfo(b)
	require.NoError(t, err)
	require.Equal(t, m, back)

	cut, err := ParseRegionInfo(b[:32])
	require.NoError(t, err, "the first of two requests")
	require.Nil(t, cut.Sparse)
	require.Equal(t, uint32(len(b)), cut.ArgSize)

	n := binary.NativeEndian
	for what, change := range map[string]func(b []byte){
		"offset in the fixed part": func(b []byte) { n.PutUint32(b[12:], 8) },
		"offset beyond the end":    func(b []byte) { n.PutUint32(b[12:], uint32(len(b)-4)) },
		"next pointing at itself":  func(b []byte) { n.PutUint32(b[36:], 32) },
		"next pointing back":       func(b []byte) { n.PutUint32(b[36:], 31) },
		"more areas than bytes":    func(b []byte) { n.PutUint32(b[40:], 3) },
		"four billion areas":       func(b []byte) { n.PutUint32(b[40:], ^uint32(0)) },
		"areas after the end":      func(b []byte) { n.PutUint32(b[36:], uint32(len(b)-8)); n.PutUint16(b[len(b)-8:], 1) },
	} {
		broken := bytes.Clone(b)
		change(broken)
		_, err := ParseRegionInfo(broken)
		require.ErrorIs(t, err, syscall.EINVAL, what)
	}
}

func TestRegionFDEntriesOfBothSizes(t *testing.T) {
	n := binary.NativeEndian
	short := RegionFDs{ArgSize: 16 + 40, Count: 1}.Append(nil)
	short = append(short, make([]byte, 40)...)
	n.PutUint64(short[16:], 0x20)
	n.PutUint64(short[16+32:], 99)
	m, err := ParseRegionFDs(short)
	require.NoError(t, err)
	require.Equal(t, []RegionFD{{Offset: 0x20, DataMatch: 99}}, m.Entries)

	n.PutUint32(short[16+20:], KindShadowIOEventFD)
	_, err = ParseRegionFDs(short)
	require.ErrorIs(t, err, syscall.EINVAL, "a shadow needs 48 bytes")
	_, err = ParseRegionFDs(append(short, 0))
	require.ErrorIs(t, err, syscall.EINVAL, "length not a multiple of the entry")
	n.PutUint32(short[12:], ^uint32(0))
	_, err = ParseRegionFDs(short)
	require.ErrorIs(t, err, syscall.EINVAL, "four billion entries")
}

func TestInvalidRequestsAreErrors(t *testing.T) {
	for what, err := range map[string]error{
		"irq set: argsz":          second(ParseIRQSet(IRQSet{ArgSize: 3, Flags: IRQDataNone}.Append(nil))),
		"irq set: few booleans":   second(ParseIRQSet(IRQSet{ArgSize: 21, Flags: IRQDataBool, Count: 2, Data: []byte{0}}.Append(nil))),
		"irq set: many booleans":  second(ParseIRQSet(IRQSet{ArgSize: 23, Flags: IRQDataBool, Count: 2, Data: []byte{0, 0, 0}}.Append(nil))),
		"map: argsz":              second(ParseMapDMA(MapDMA{ArgSize: 31, Size: 1}.Append(nil))),
		"map: flags":              second(ParseMapDMA(MapDMA{ArgSize: 32, Flags: 16, Size: 1}.Append(nil))),
		"map: empty":              second(ParseMapDMA(MapDMA{ArgSize: 32}.Append(nil))),
		"map: wraps":              second(ParseMapDMA(MapDMA{ArgSize: 32, Address: ^uint64(0), Size: 2}.Append(nil))),
		"unmap: argsz":            second(ParseUnmapDMA(UnmapDMA{ArgSize: 8, Size: 1}.Append(nil))),
		"unmap: large argsz":      second(ParseUnmapDMA(UnmapDMA{ArgSize: MaxTransfer + 8, Size: 1}.Append(nil))),
		"unmap: dirty bitmap":     second(ParseUnmapDMA(UnmapDMA{ArgSize: 24, Flags: UnmapFlagDirtyBitmap, Size: 1}.Append(nil))),
		"unmap: flags":            second(ParseUnmapDMA(UnmapDMA{ArgSize: 24, Flags: 4, Size: 1}.Append(nil))),
		"unmap: all with address": second(ParseUnmapDMA(UnmapDMA{ArgSize: 24, Flags: UnmapFlagAll, Address: 1}.Append(nil))),
		"multi: count":            second(ParseMulti(append(AppendMulti(nil, make([]MultiWrite, 2)), 0))),
		"multi: overflow":         second(ParseMulti(AppendCount(nil, 1<<61+1))),
		"write: short data":       RegionAccess{Count: 4}.HasData([]byte{1}),
		"dma: long data":          DMAAccess{Count: 1}.HasData([]byte{1, 2}),
	} {
		require.ErrorIs(t, err, syscall.EINVAL, what)
	}
}

func second[T any](_ T, err error) error { return err }

func TestMultiWrites(t *testing.T) {
	b := AppendMulti(nil, []MultiWrite{
		{RegionAccess{8, 0, 4}, [8]byte{1, 2, 3, 4}},
		{RegionAccess{16, 0, 9}, [8]byte{}},
	})
	m, err := ParseMulti(b)
	require.NoError(t, err)
	require.Equal(t, 2, m.Len())
	a, data, err := m.At(0)
	require.NoError(t, err)
	require.Equal(t, RegionAccess{8, 0, 4}, a)
	require.Equal(t, []byte{1, 2, 3, 4}, data)
	_, _, err = m.At(1)
	require.ErrorIs(t, err, syscall.EINVAL, "more than eight bytes")
}

func TestVersionJSONChecksTypes(t *testing.T) {
	body := func(json string) []byte { return append([]byte{0, 0, 1, 0}, json...) }
	for _, json := range []string{
		"{", `"`, "{}", `{}x` + "\x00", `{ "capabilities": "23" }` + "\x00", `{ "capabilities": { "max_msg_fds": "foo" } }` + "\x00",
		`{ "capabilities": { "max_msg_fds": -1 } }` + "\x00", `{ "capabilities": { "max_msg_fds": 1.5 } }` + "\x00",
		`{ "capabilities": { "max_data_xfer_size": 0 } }` + "\x00", `{ "capabilities": { "max_dma_maps": 0 } }` + "\x00",
		`{ "capabilities": { "pgsizes": 0 } }` + "\x00", `{ "capabilities": { "write_multiple": 1 } }` + "\x00",
		`[` + strings.Repeat(`[`, 15000) + "\x00", strings.Repeat(" ", maxVersionData) + "{}\x00",
	} {
		_, err := ParseVersion(body(json))
		require.ErrorIs(t, err, syscall.EINVAL, json[:min(len(json), 50)])
	}
	defaults := Capabilities{MaxFDs: 1, MaxTransfer: 1 << 20, MaxMaps: 65535, PageSizes: 4096}
	for json, want := range map[string]Capabilities{
		"":           defaults,
		"{}\x00":     defaults,
		"null\x00":   defaults,
		"{ } \n\x00": defaults,
		`{"capabilities":{"unknown":[1],"migration":{"pgsize":4095}}}` + "\x00":                                          defaults,
		`{"capabilities":{"max_msg_fds":0,"max_data_xfer_size":8}}` + "\x00":                                             {0, 8, 65535, 4096, false},
		`{"capabilities":{"max_msg_fds":4000000000,"max_data_xfer_size":4000000000,"max_dma_maps":4000000000}}` + "\x00": {MaxFDs, MaxTransfer, 65535, 4096, false},
		`{"capabilities":{"max_msg_fds":8,"max_dma_maps":5,"pgsizes":2097152,"write_multiple":true}}` + "\x00":           {8, 1 << 20, 5, 2 << 20, true},
		string(Proposal().Append(nil)[4:]): {MaxFDs, MaxTransfer, MaxMaps, PageSizes, true},
	} {
		m, err := ParseVersion(body(json))
		require.NoError(t, err, json)
		require.Equal(t, want, m.Capabilities, json)
	}
}

func TestNegotiateReturnsTheSmallerVersion(t *testing.T) {
	answer, err := Negotiate(VersionMsg{Major: 0, Minor: 0})
	require.NoError(t, err)
	require.Zero(t, answer.Minor)
	require.False(t, answer.Capabilities.WriteMultiple, "not proposed")
	require.LessOrEqual(t, answer.Capabilities.MaxFDs, 16, "QEMU's limit")
	answer, err = Negotiate(VersionMsg{Major: 0, Minor: 99, Capabilities: Capabilities{WriteMultiple: true}})
	require.NoError(t, err)
	require.EqualValues(t, Minor, answer.Minor)
	require.True(t, answer.Capabilities.WriteMultiple)
	_, err = Negotiate(VersionMsg{Major: 1})
	require.ErrorIs(t, err, syscall.EINVAL)
	require.NoError(t, CheckReply(answer))
	require.Error(t, CheckReply(VersionMsg{Major: 1}))
	require.Error(t, CheckReply(VersionMsg{Minor: Minor + 1}))
}

func TestDecodersDoNotAllocate(t *testing.T) {
	access, irq := layouts[4].body, layouts[2].body
	require.Zero(t, testing.AllocsPerRun(100, func() {
		ParseRegionAccess(access)
		ParseDMAAccess(access)
		ParseIRQSet(irq)
	}))
}

// FuzzDecoders decodes with every decoder. A body that is accepted must round-trip.
func FuzzDecoders(f *testing.F) {
	for i, c := range layouts {
		f.Add(uint8(i), c.body)
		f.Add(uint8(i), c.body[:c.size])
	}
	sparse := RegionInfo{Flags: RegionFlagMmap, Sparse: []Area{{0, 4096}, {8192, 4096}}}
	sparse.ArgSize = sparse.FullSize()
	f.Add(uint8(3), sparse.Append(nil))
	f.Add(uint8(len(layouts)), AppendMulti(nil, make([]MultiWrite, 2)))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		if int(kind) >= len(layouts) {
			m, err := ParseMulti(b)
			if err == nil {
				for i := range m.Len() {
					if _, data, err := m.At(i); err == nil && len(data) > 8 {
						t.Fatal("more data than the message has")
					}
				}
			}
			ParseDMAWriteReply(b)
			ParseHeader(b)
			return
		}
		c := layouts[kind]
		once, err := c.again(b)
		if err != nil {
			return
		}
		if c.name == "region info" {
			// Capabilities may be anywhere in b, but are encoded at one place: adapt
			// the size so that they are decoded.
			m, _ := ParseRegionInfo(b)
			m.ArgSize = m.FullSize()
			if len(m.Sparse) == 0 {
				m.Flags &^= RegionFlagCaps
			}
			once = m.Append(nil)
		}
		if c.name == "region io fds" {
			m, _ := ParseRegionFDs(b)
			if m.Entries == nil {
				return
			}
		}
		twice, err := c.again(once)
		if err != nil {
			t.Fatalf("%s: own encoding is rejected: %v", c.name, err)
		}
		if !bytes.Equal(once, twice) {
			t.Fatalf("%s: %x becomes %x", c.name, once, twice)
		}
	})
}
