package ring

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// The bytes are laid out by hand after datasheet 7.1.6.2.
func TestWriteBackIsDecodedByteForByte(t *testing.T) {
	mem := aligned(DescriptorSize)
	copy(mem, []byte{
		0x11, 0x01, 0x60, 0x85, // RSS type 1, IPv4 | TCP; header length, SPH
		0x78, 0x56, 0x34, 0x12, // hash
		0x6b, 0x00, 0x00, 0x80, // DD EOP VP L4I IPCS, IPE
		0xea, 0x05, 0x2a, 0x60, // 1514 bytes, VLAN 42 with priority 3
	})
	d := &RxDescriptors(mem)[0]
	s, typ := d.Status(), d.Type()
	require.NotZero(t, s&RxDD)
	require.NotZero(t, s&RxEOP)
	require.Equal(t, 1514, s.Length())
	require.Equal(t, uint16(0x602a), s.VLAN())
	require.Equal(t, RSSTCPv4, typ.RSS())
	require.Equal(t, uint32(0x12345678), typ.Hash())
	require.Equal(t, uint16(0x1234), typ.FragmentChecksum())
	require.Equal(t, uint16(0x5678), typ.IPID())
	require.NotZero(t, typ&RxSPH)
	require.Equal(t, 0x2b, typ.HeaderLength())
	hash, info := Describe(typ, s)
	require.Equal(t, uint32(0x12345678), hash)
	require.Equal(t, HasHash|HasVLAN|IPv4|TCP|IPChecked|IPBad|L4Checked, info)
	require.False(t, IsFast(typ, s), "tag and error")
}

func TestRefillWritesTheReadFormatAndClearsDone(t *testing.T) {
	mem := aligned(2 * DescriptorSize)
	descs := RxDescriptors(mem)
	require.Len(t, descs, 2)
	descs[1].WriteBack(0xffff, RxDD|RxEOP)
	descs[1].Refill(0x1122334455667788)
	require.Equal(t, uint64(0x1122334455667788), binary.LittleEndian.Uint64(mem[16:]))
	require.Zero(t, descs[1].Status())
}

func TestDescribeFastAgreesWithDescribe(t *testing.T) {
	status := []RxStatus{0, RxIPCS, RxL4I, RxUDPCS, RxL4I | RxUDPCS | RxIPCS, RxPIF | RxLB | RxUDPV}
	for low := range RxType(1 << 10) {
		for _, s := range status {
			s |= RxDD | RxEOP
			typ := low | 0xdeadbeef<<32
			require.True(t, IsFast(typ, s))
			h1, i1 := Describe(typ, s)
			h2, i2 := DescribeFast(typ, s)
			require.Equal(t, i1, i2, "type %#x status %#x", typ, s)
			require.Equal(t, h1, h2)
			require.Equal(t, i1&HasHash != 0, h1 != 0)
		}
	}
}

func TestIsFastOnlyForCompleteFramesWithoutErrors(t *testing.T) {
	const good = RxDD | RxEOP | RxIPCS
	require.True(t, IsFast(PktIPv4, good))
	for _, s := range []RxStatus{good &^ RxDD, good &^ RxEOP, good | RxVP, good | RxTS, good | RxRXE, good | RxL4E, good | RxIPE} {
		require.False(t, IsFast(PktIPv4, s), "%#x", s)
	}
	require.False(t, IsFast(PktETQF, good))
}

func TestBuildersKeepOtherFields(t *testing.T) {
	s := (RxDD | RxIPE).WithLength(1514).WithVLAN(7).WithLength(60)
	require.Equal(t, 60, s.Length())
	require.Equal(t, uint16(7), s.VLAN())
	require.NotZero(t, s&RxDD)
	require.NotZero(t, s&RxIPE)
	typ := (PktIPv6 | PktUDP | 5).WithHash(RSSUDPv6, 9)
	require.Equal(t, RSSUDPv6, typ.RSS())
	require.Equal(t, uint32(9), typ.Hash())
	require.NotZero(t, typ&PktUDP)
}

// Datasheet 7.2.3.2.4: bytes by hand.
func TestTransmitDataDescriptor(t *testing.T) {
	mem := aligned(DescriptorSize)
	d := &TxDescriptors(mem)[0]
	d.SetData(0x0102030405060708, 0x5ea, 0x1234, TxEOP|TxIFCS|TxRS)
	require.Equal(t, []byte{
		0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
		0xea, 0x05, 0x30, 0x2b, // length, DTYP 3, EOP IFCS RS DEXT
		0x00, 0x00, 0x8d, 0x04, // PAYLEN 0x1234 << 14
	}, mem)
	addr, n, total, c := d.Data()
	require.Equal(t, uint64(0x0102030405060708), addr)
	require.Equal(t, 0x5ea, n)
	require.Equal(t, 0x1234, total)
	require.Equal(t, TxEOP|TxIFCS|TxRS|TxDEXT|txData, c)
	require.True(t, d.IsData())
	require.False(t, d.IsContext())
	require.False(t, d.Done())
	d.WriteBack()
	require.True(t, d.Done())
}

func TestTransmitContextDescriptor(t *testing.T) {
	mem := aligned(DescriptorSize)
	d := &TxDescriptors(mem)[0]
	c := TxContext{Index: 1, MACLen: 18, IPLen: 20, L4Len: 32, MSS: 1460, VLAN: 0x602a, IPv4: true, L4: L4TCP}
	d.SetContext(c)
	require.Equal(t, []byte{
		0x14, 0x24, 0x2a, 0x60, 0, 0, 0, 0, // IPLEN 20, MACLEN 18 << 9, VLAN
		0x00, 0x0c, 0x20, 0x20, // IPV4, L4T TCP, DTYP 2, DEXT
		0x10, 0x20, 0xb4, 0x05, // IDX 1, L4LEN 32, MSS 1460
	}, mem)
	require.Equal(t, c, d.Context())
	require.True(t, d.IsContext())
	require.False(t, d.IsData())
}

func TestBuffers(t *testing.T) {
	mem := aligned(3*100 + 64)
	b := NewBuffers(mem, 4, 64, 100)
	b.Slice(3, 64)[63] = 0xaa
	require.Equal(t, byte(0xaa), mem[363])
	s := b.Slice(1, 10)
	require.Len(t, s, 10)
	require.Equal(t, 10, cap(s), "a frame's slice cannot grow into the next frame")
	require.Equal(t, []int{4, 64, 100}, []int{b.Len(), b.Size(), b.Stride()})
	require.Panics(t, func() { NewBuffers(mem, 4, 65, 100) })
	require.Panics(t, func() { NewBuffers(mem, 4, 64, 60) })
	require.Panics(t, func() { NewBuffers(mem, 0, 64, 64) })
}

func TestViewRefusesUnalignedMemory(t *testing.T) {
	mem := aligned(64)
	require.Nil(t, RxDescriptors(mem[:15]))
	require.Panics(t, func() { RxDescriptors(mem[4:]) })
}

// FuzzDescriptors: for any 16 bytes of a device, Describe is consistent with itself
// and with DescribeFast.
func FuzzDescriptors(f *testing.F) {
	f.Add(make([]byte, 16))
	f.Add([]byte{0x11, 0x01, 0x60, 0x85, 0x78, 0x56, 0x34, 0x12, 0x6b, 0, 0, 0x80, 0xea, 0x05, 0x2a, 0x60})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < DescriptorSize {
			return
		}
		mem := aligned(DescriptorSize)
		copy(mem, b)
		d := &RxDescriptors(mem)[0]
		s, typ := d.Status(), d.Type()
		hash, info := Describe(typ, s)
		implies := func(a, b Info) {
			if info&a != 0 && info&b == 0 {
				t.Fatalf("%#x without %#x in %#x", a, b, info)
			}
		}
		implies(IPBad, IPChecked)
		implies(L4Bad, L4Checked)
		if info&Stripped != 0 || info&HasHash == 0 && hash != 0 {
			t.Fatalf("info %#x, hash %#x", info, hash)
		}
		if s.Length() < 0 || s.Length() > 0xffff {
			t.Fatalf("length %d", s.Length())
		}
		if IsFast(typ, s) {
			h, i := DescribeFast(typ, s)
			if h != hash || i != info {
				t.Fatalf("fast: %#x %#x, slow: %#x %#x", h, i, hash, info)
			}
		}
		if got := s.WithLength(s.Length()).WithVLAN(s.VLAN()); got != s {
			t.Fatalf("status %#x became %#x", s, got)
		}
		tx := &TxDescriptors(mem)[0]
		if tx.IsData() && tx.IsContext() {
			t.Fatal("data and context at once")
		}
		tx.SetContext(tx.Context())
		if !tx.IsContext() {
			t.Fatal("SetContext wrote no context descriptor")
		}
	})
}
