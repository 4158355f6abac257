package sim

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// address is the station address of pool k in these tests.
func address(k byte) []byte { return []byte{2, 0, 0, 0, 0, k} }

// between is a frame from one pool's address to another address; with a VLAN if that
// is not 0.
func between(from byte, to []byte, vlan uint16) []byte {
	f := append(append(append([]byte{}, to...), address(from)...), 0x88, 0xb5)
	if vlan != 0 {
		f = binary.BigEndian.AppendUint16(append(f[:12], 0x81, 0x00), vlan)
		f = append(f, 0x88, 0xb5)
	}
	return append(f, make([]byte, 60)...)[:64]
}

var broadcast = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// virtual is a rig with 64 pools of 2 queues. Virtual functions have pools 0 and up,
// with addresses; the physical function has pool 63, the default pool.
type virtual struct {
	*rig
	rings [64]*rxRing
}

func newVirtual(t *testing.T, vfs int) *virtual {
	t.Helper()
	r := &virtual{rig: newRig(t, Config{VFs: vfs})}
	r.promiscuous()
	r.write(rFCTRL, 1<<10)
	r.write(rGCREXT, 3)
	r.write(rMRQC, mrqePools64RSS)
	r.write(rMTQC, 2|1<<2)
	r.write(rPFVTCTL, 1|63<<7|1<<30)
	r.write(rPFDTXGSWC, 1)
	r.write(rDMATXCTL, r.read(rDMATXCTL)|1)
	for k := range vfs {
		v := r.VF(k)
		v.Attach(r.h)
		require.NoError(t, v.WriteRegion(regionConfig, 4, []byte{6, 0}))
		r.write(rRAL+8*uint32(k+1), binary.LittleEndian.Uint32(address(byte(k))))
		r.write(rRAL+8*uint32(k+1)+4, uint32(k)<<8|1<<31)
		r.write(rMPSAR+8*uint32(k+1), 1<<k)
		r.write(rPFVML2FLT+4*uint32(k), vmolrAUPE|vmolrBAM)
		r.pool(k)
	}
	r.write(rPFVML2FLT+4*63, vmolrAUPE|vmolrBAM)
	r.pool(63)
	for i := range uint32(2) {
		r.write(rPFVFRE+4*i, ^uint32(0))
		r.write(rPFVFTE+4*i, ^uint32(0))
	}
	return r
}

// pool sets up queue 0 of a pool.
func (r *virtual) pool(k int) {
	q := 2 * k
	x := &rxRing{r: r.rig, q: q, n: 16, size: 2048, ring: testBase + uint64(k)*0x1000, buf: testBase + 0x100000 + uint64(k)*0x8000}
	r.write(rxReg(q, qBAL), uint32(x.ring))
	r.write(rxReg(q, qLEN), 16*16)
	r.write(rxReg(q, qSRR), 2|1<<25)
	r.write(rxReg(q, qDCTL), 1<<25)
	for i := range x.n {
		x.post(i)
	}
	r.write(rxReg(q, qTAIL), 15)
	r.write(rRXCTRL, 1)
	r.rings[k] = x
}

// pools returns the pools that got frames since the last call.
func (r *virtual) pools() (list []int) {
	r.Helper()
	r.run()
	for k, x := range r.rings {
		if x != nil {
			for range x.all() {
				list = append(list, k)
			}
			x.refill()
		}
	}
	return list
}

func (r *virtual) receive(f []byte) []int {
	r.Helper()
	r.w.push(f)
	return r.pools()
}

// send transmits a frame from a pool. It returns the pools that got it, and whether
// the network did.
func (r *virtual) send(k int, f []byte) (list []int, network bool) {
	r.Helper()
	q := 2 * k
	ring := uint64(testBase + 0x400000 + k*0x1000)
	copy(r.h.at(ring+0x800, len(f)), f)
	binary.LittleEndian.PutUint64(r.h.at(ring, 8), ring+0x800)
	binary.LittleEndian.PutUint64(r.h.at(ring+8, 8), advanced|uint64(len(f)))
	r.write(txReg(q, qDCTL), 0)
	r.write(txReg(q, qHEAD), 0)
	r.write(txReg(q, qTAIL), 0)
	r.write(txReg(q, qBAL), uint32(ring))
	r.write(txReg(q, qLEN), 128)
	r.write(txReg(q, qDCTL), 1<<25)
	r.write(txReg(q, qTAIL), 1)
	list = r.pools()
	network = len(r.w.sent) > 0
	r.w.sent = nil
	return list, network
}

func TestPoolsByAddressAndVLAN(t *testing.T) {
	r := newVirtual(t, 3)
	stranger := []byte{2, 9, 9, 9, 9, 9}
	multicast := []byte{1, 0, 0x5e, 0, 0, 5}
	require.Equal(t, []int{1}, r.receive(between(9, address(1), 0)))
	require.Empty(t, r.receive(between(9, stranger, 0)), "no address filter accepts it")
	require.Equal(t, []int{0, 1, 2, 63}, r.receive(between(9, broadcast, 0)))
	r.write(rFCTRL, 1<<10|1<<9)
	require.Equal(t, []int{63}, r.receive(between(9, stranger, 0)), "unicast promiscuous: the default pool")
	r.write(rPFVTCTL, 1|63<<7|1<<30|1<<29)
	require.Empty(t, r.receive(between(9, stranger, 0)), "no default pool")
	r.write(rPFVTCTL, 1|63<<7)
	require.Equal(t, []int{0}, r.receive(between(9, broadcast, 0)), "without replication")
	r.write(rPFVTCTL, 1|63<<7|1<<30)

	require.Empty(t, r.receive(between(9, multicast, 0)))
	r.write(rPFVML2FLT+4, vmolrAUPE|vmolrMPE)
	require.Equal(t, []int{1}, r.receive(between(9, multicast, 0)))
	r.write(rPFVML2FLT+8, vmolrAUPE|vmolrROMPE)
	h := uint32(multicast[4])>>4 | uint32(multicast[5])<<4
	r.write(rMTA+4*(h>>5), 1<<(h&31))
	require.Equal(t, []int{1, 2}, r.receive(between(9, multicast, 0)), "by the hash table too")
	require.EqualValues(t, 2, r.VF(1).load(0x1034), "VFMPRC")

	r.write(rPFVML2FLT, vmolrBAM)
	require.Equal(t, []int{63}, r.receive(between(9, address(0), 0)), "pool 0 accepts no untagged frames")
	r.write(rPFVLVF+4*5, 1<<31|100)
	r.write(rPFVLVFB+8*5, 1<<0|1<<2)
	r.write(rVLNCTRL, 0x8100|1<<30)
	r.write(rVFTA+4*(100/32), 1<<(100%32))
	require.Equal(t, []int{0}, r.receive(between(9, address(0), 100)))
	require.Equal(t, []int{0}, r.receive(between(9, broadcast, 100)), "pool 2 accepts no broadcast")
	require.Equal(t, []int{63}, r.receive(between(9, address(1), 100)), "pool 1 is not in the VLAN")
	require.Empty(t, r.receive(between(9, address(0), 101)), "no such VLAN")

	r.write(rPFUTA+4*0x20, 1)
	r.write(rPFVML2FLT+4*2, vmolrAUPE|vmolrROPE)
	require.Equal(t, []int{2}, r.receive(between(9, []byte{2, 0, 0, 0, 0, 0x40}, 0)), "by the unicast hash table")
	r.write(rPFVFRE, ^uint32(1))
	require.Empty(t, r.receive(between(9, address(0), 100)), "PFVFRE clear")
	require.NoError(t, r.Stats().Balanced())
	require.Zero(t, r.Stats().Faults, r.Stats().LastFault)
}

func TestLocalSwitching(t *testing.T) {
	r := newVirtual(t, 3)
	check := func(from int, f []byte, pools []int, network bool) {
		t.Helper()
		list, sent := r.send(from, f)
		require.Equal(t, pools, list)
		require.Equal(t, network, sent)
	}
	check(0, between(0, address(2), 0), []int{2}, false)
	check(0, between(0, broadcast, 0), []int{1, 2, 63}, true)
	check(0, between(0, []byte{2, 9, 9, 9, 9, 9}, 0), nil, true)
	check(0, between(0, address(0), 0), nil, false) // to itself
	r.write(rPFVMTXSW, 1)
	check(0, between(0, address(0), 0), []int{0}, false)
	require.EqualValues(t, 5, r.VF(0).load(0x201c), "VFGPTC")
	require.EqualValues(t, 1, r.VF(2).load(0x101c)-1, "VFGPRC: one of unicast, one of broadcast")

	// A disabled transmit pool sends nothing until it is enabled.
	r.write(rPFVFTE, 0)
	check(1, between(1, address(2), 0), nil, false)
	r.write(rPFVFTE, 2)
	require.Equal(t, []int{2}, r.pools())

	r.write(rPFVFTE, ^uint32(0))
	r.write(rPFDTXGSWC, 0)
	check(0, between(0, address(2), 0), nil, true)
}

func TestSpoofedFramesAreDropped(t *testing.T) {
	r := newVirtual(t, 2)
	r.write(rPFVFSPOOF, 1|1<<8)
	list, network := r.send(0, between(1, address(1), 0))
	require.Empty(t, list)
	require.False(t, network)
	require.EqualValues(t, 1, r.read(cSSVPC))
	list, _ = r.send(1, between(0, address(0), 0))
	require.Equal(t, []int{0}, list, "pool 1 is not checked")
	list, _ = r.send(0, between(0, address(1), 0))
	require.Equal(t, []int{1}, list)
	_, network = r.send(0, between(0, broadcast, 7))
	require.False(t, network, "not its VLAN")
	r.write(rPFVLVF, 1<<31|7)
	r.write(rPFVLVFB, 1)
	_, network = r.send(0, between(0, broadcast, 7))
	require.True(t, network)
	require.EqualValues(t, 1, r.read(cSSVPC))
}

func TestPortVLANOfAPool(t *testing.T) {
	r := newVirtual(t, 2)
	r.write(rPFVMVIR, 1<<30|42)
	r.write(rPFDTXGSWC, 0)
	for _, f := range [][]byte{between(0, broadcast, 0), between(0, broadcast, 7)} {
		copy(r.h.at(testBase+0x700000, len(f)), f)
		_, network := r.send(0, f)
		require.True(t, network)
	}
	r.write(rPFVLVF, 1<<31|42)
	r.write(rPFVLVFB, 1)
	r.write(rVLNCTRL, 0x8100|1<<30)
	r.write(rVFTA+4*(42/32), 1<<(42%32))
	r.write(0x2f04, 1<<16|0<<8|qdeHideVLAN)
	r.w.push(between(9, address(0), 42))
	r.run()
	got := r.rings[0].all()
	require.Len(t, got, 1)
	require.Zero(t, got[0].status()&stVP)
	require.Zero(t, got[0].vlan())
	require.Equal(t, between(9, address(0), 0)[:60], got[0].data[:60], "without its tag")
}

func TestMirrorRules(t *testing.T) {
	const monitor = 2
	for _, c := range []struct {
		rule       uint32
		uplink     []int // a frame of the network for pool 0
		stranger   []int // for an address of no pool
		local      []int // pool 0 sends to pool 1
		downlink   []int // pool 0 sends to the network
		vlan       []int // a frame of the network in VLAN 100 for pool 0
		poolOfRule uint32
	}{
		{0, []int{0}, []int{63}, []int{1}, nil, []int{0}, 0},
		{1, []int{0, monitor}, []int{63}, []int{1}, nil, []int{0, monitor}, 1 << 0},
		{1, []int{0}, []int{63}, []int{1, monitor}, nil, []int{0}, 1 << 1},
		{2, []int{0, monitor}, []int{monitor, 63}, []int{1}, nil, []int{0, monitor}, 0},
		{4, []int{0}, []int{63}, []int{1}, []int{monitor}, []int{0}, 0},
		{8, []int{0}, []int{63}, []int{1}, nil, []int{0, monitor}, 0},
		{2 | 4, []int{0, monitor}, []int{monitor, 63}, []int{1}, []int{monitor}, []int{0, monitor}, 0},
	} {
		t.Run(fmt.Sprintf("rule %d pools %d", c.rule, c.poolOfRule), func(t *testing.T) {
			r := newVirtual(t, 3)
			r.write(rFCTRL, 1<<10|1<<9)
			r.write(rPFVLVF+4*3, 1<<31|100)
			r.write(rPFVLVFB+8*3, 1)
			r.write(rPFMRCTL+4, c.rule|monitor<<8)
			r.write(rPFMRVM+4, c.poolOfRule)
			r.write(rPFMRVLAN+4, 1<<3)
			require.Equal(t, c.uplink, r.receive(between(9, address(0), 0)), "uplink")
			require.Equal(t, c.stranger, r.receive(between(9, []byte{2, 9, 9, 9, 9, 9}, 0)), "stranger")
			local, _ := r.send(0, between(0, address(1), 0))
			require.Equal(t, c.local, local, "local")
			downlink, network := r.send(0, between(0, []byte{2, 9, 9, 9, 9, 9}, 0))
			require.True(t, network)
			require.Equal(t, c.downlink, downlink, "downlink")
			require.Equal(t, c.vlan, r.receive(between(9, address(0), 100)), "VLAN")
			require.NoError(t, r.Stats().Balanced())
		})
	}
}
