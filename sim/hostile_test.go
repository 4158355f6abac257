package sim

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestBadRingsAreCountedNotFatal(t *testing.T) {
	for name, set := range map[string]func(r *rig){
		"ring base not mapped":     func(r *rig) { r.write(rxReg(0, qBAH), 0x77) },
		"ring beyond the mapping":  func(r *rig) { r.write(rxReg(0, qBAL), testBase+8<<20-128); r.write(rxReg(0, qLEN), 0x1000) },
		"length 0":                 func(r *rig) { r.write(rxReg(0, qLEN), 0) },
		"tail beyond the ring":     func(r *rig) { r.write(rxReg(0, qLEN), 128) },
		"buffer size 0":            func(r *rig) { r.write(rxReg(0, qSRR), 1<<25) },
		"buffer size over 16 KiB":  func(r *rig) { r.write(rxReg(0, qSRR), 31|1<<25) },
		"header split":             func(r *rig) { r.write(rxReg(0, qSRR), 2|2<<25) },
		"unknown MRQC mode":        func(r *rig) { r.write(rMRQC, 9) },
		"CRC strip bits disagree":  func(r *rig) { r.write(rRDRXCTL, 0) },
		"base wraps the addresses": func(r *rig) { r.write(rxReg(0, qBAL), 0xffffff80); r.write(rxReg(0, qBAH), 0xffffffff) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{})
			r.promiscuous()
			r.write(rxReg(0, qBAL), testBase)
			r.write(rxReg(0, qLEN), 64*16)
			r.write(rxReg(0, qSRR), 2|1<<25)
			set(r)
			r.write(rxReg(0, qDCTL), 1<<25)
			r.write(rxReg(0, qTAIL), 63)
			r.write(rRXCTRL, 1)
			r.w.push(plain(60), plain(1514), plain(60))
			r.run()
			s := r.Stats()
			require.NotZero(t, s.Faults)
			require.NotEmpty(t, s.LastFault)
			require.EqualValues(t, 3, s.Offered)
		})
	}
}

func TestUnreadableRingSetsReceivedMasterAbort(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	r.write(rxReg(0, qBAH), 0x77)
	r.write(rxReg(0, qLEN), 1024)
	r.write(rxReg(0, qSRR), 2|1<<25)
	r.write(rxReg(0, qDCTL), 1<<25)
	r.write(rxReg(0, qTAIL), 63)
	r.write(rRXCTRL, 1)
	r.w.push(plain(60))
	r.run()
	p := make([]byte, 2)
	require.NoError(t, r.ReadRegion(regionConfig, 6, p))
	require.NotZero(t, p[1]&0x20)
	require.NoError(t, r.WriteRegion(regionConfig, 6, p))
	require.NoError(t, r.ReadRegion(regionConfig, 6, p))
	require.Zero(t, p[1]&0x20, "write one to clear")
	require.EqualValues(t, 1, r.Stats().Buffered)
}

func TestUnreadableTransmitBufferSetsReceivedMasterAbort(t *testing.T) {
	r := newRig(t, Config{})
	x := r.tx()
	x.put(0xdead00000000, advanced|100)
	x.send()
	p := make([]byte, 2)
	require.NoError(t, r.ReadRegion(regionConfig, 6, p))
	require.NotZero(t, p[1]&0x20)
	require.Empty(t, r.w.sent)
	x.data(plain(80), advanced)
	x.send()
	require.Len(t, r.w.sent, 1, "the queue goes on")
}

func TestUnmappedBuffers(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	binary.LittleEndian.PutUint64(x.desc(1), 0xdead00000000)
	binary.LittleEndian.PutUint64(x.desc(2), 1<<64-100)
	binary.LittleEndian.PutUint64(x.desc(3), testBase+8<<20-10)
	for range 5 {
		r.w.push(plain(100))
	}
	r.run()
	s := r.Stats()
	require.EqualValues(t, 2, s.Delivered)
	require.EqualValues(t, 3, s.Unwritten)
	require.EqualValues(t, 3, s.Faults)
	require.EqualValues(t, 5, r.read(rxReg(0, qHEAD)), "writes are posted: the device goes on")
}

func TestRDLENIsAMultipleOf128(t *testing.T) {
	r := newRig(t, Config{})
	r.write(rxReg(0, qLEN), 1000)
	require.EqualValues(t, 896, r.read(rxReg(0, qLEN)))
}

func TestNoDMAWithoutBusMaster(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{2, 0}))
	r.w.push(plain(60))
	r.run()
	require.Empty(t, x.all())
	require.EqualValues(t, 1, r.Stats().Buffered)
	require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{6, 0}))
	r.run()
	require.Len(t, x.all(), 1)
}

func TestDetachAndQuiesceInvalidateHostMemory(t *testing.T) {
	r := newRig(t, Config{})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	r.w.push(plain(60))
	r.run()
	require.Len(t, x.all(), 1)

	// The same addresses now are other memory.
	old := r.h.mem
	r.Quiesce(func() { r.h.mem = append([]byte(nil), old...) })
	r.w.push(plain(61))
	r.run()
	require.Zero(t, old[24]&1, "not written")
	g, ok := x.pop()
	require.True(t, ok)
	require.Len(t, g.data, 61)

	// The next host finds the function as after power-on: rings of the last driver
	// must not be used on its memory.
	at := append([]byte(nil), r.h.mem...)
	r.Detach()
	r.Attach(r.h)
	require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{6, 0}))
	r.link.ready = time.Now()
	require.Zero(t, r.read(rxReg(0, qDCTL))&(1<<25))
	require.Zero(t, r.read(rRXCTRL))
	r.w.push(plain(62))
	r.run()
	require.EqualValues(t, 2, r.Stats().Delivered)
	require.EqualValues(t, 2, r.Stats().Offered, "the wire waits for the next client")
	require.Equal(t, at, r.h.mem)
}

// A program can close its port and its server in any order.
func TestDetachAfterClose(t *testing.T) {
	n, err := New(Config{}, &testWire{})
	require.NoError(t, err)
	n.Attach(&testHost{base: testBase, mem: make([]byte, 4096), raised: map[[2]int]int{}})
	require.NoError(t, n.Close())
	n.Detach()
}

func TestLostDoorbell(t *testing.T) {
	r := newRig(t, Config{Faults: Faults{LostDoorbell: 2}})
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	for range 14 {
		r.w.push(plain(60))
	}
	r.run()
	require.Len(t, x.all(), 7)
	x.refill()
	r.run()
	require.Empty(t, x.all(), "this tail is ignored")
	require.EqualValues(t, 6, r.read(rxReg(0, qTAIL)))
}

// FuzzDescriptors runs a NIC with arbitrary register values, descriptors and frames.
// It must not panic or write outside the mapped memory, and every frame must have
// one outcome.
func FuzzDescriptors(f *testing.F) {
	f.Add([]byte{}, uint16(60), uint8(1))
	f.Add([]byte{0x18, 0x10, 7, 0, 0, 0, 0x28, 0x10, 0, 0, 0, 2}, uint16(1514), uint8(9))
	f.Add([]byte{0x80, 0x50, 0, 7, 0, 0, 0x00, 0x30, 1, 0, 0, 0}, uint16(9000), uint8(3))
	f.Add([]byte{0x28, 0x60, 0, 0, 0, 2, 0x18, 0x60, 9, 0, 0, 0}, uint16(64), uint8(200))
	dec, err := newDecoder(registerTable(variants[0]))
	require.NoError(f, err)
	bells, err := newDoorbells()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, script []byte, size uint16, count uint8) {
		const guard = 4096
		backing := make([]byte, guard+1<<20+guard)
		for i := range guard {
			backing[i], backing[len(backing)-1-i] = 0xa5, 0xa5
		}
		mem := backing[guard : guard+1<<20]
		h := &testHost{base: testBase, mem: mem, raised: map[[2]int]int{}, slow: count&1 != 0}
		w := &testWire{}
		n := newNIC(Config{StartAtLinkUp: true}, variants[0], w, dec)
		n.bells = bells
		bells.clear()
		n.Attach(h)
		n.link.carrier = true
		n.link.ready = time.Time{}
		r := &rig{TB: t, NIC: n, w: w, h: h}
		require.NoError(t, r.WriteRegion(regionConfig, 4, []byte{6, 0}))

		// A valid configuration, which the script then changes.
		r.promiscuous()
		r.rss(allRSS)
		for q := range 4 {
			r.write(rxReg(q, qBAL), uint32(testBase+q*0x1000))
			r.write(rxReg(q, qLEN), 16*16)
			r.write(rxReg(q, qDCTL), 1<<25)
			r.write(rxReg(q, qTAIL), 15)
		}
		r.write(rRXCTRL, 1)
		r.write(rDMATXCTL, 1)
		r.write(txReg(0, qBAL), testBase+0x8000)
		r.write(txReg(0, qLEN), 64*16)
		r.write(txReg(0, qDCTL), 1<<25)
		for at := 0; at < 0x9000; at += 0x800 { // descriptors and buffers alike
			copy(mem[at:], script[:min(len(script), 0x800)])
		}
		for i := 0; i < 32; i++ { // valid transmit descriptors
			d := mem[0x8000+32*i:]
			binary.LittleEndian.PutUint64(d, testBase+uint64(i)*0x400)
			binary.LittleEndian.PutUint64(d[8:], uint64(size)|uint64(count)<<24|3<<20|tdDEXT)
		}
		for len(script) >= 6 {
			off := uint32(binary.LittleEndian.Uint16(script)) &^ 3
			if script[0]&1 != 0 {
				off |= 0x10000
			}
			v := binary.LittleEndian.Uint32(script[2:])
			if script[0]&2 != 0 {
				r.read(off % bar0Size)
			}
			r.write(off%bar0Size, v)
			script = script[6:]
			if len(script)%4 == 0 {
				w.push(plain(max(int(size)%16384, 14)), udp4("10.0.0.1", "10.0.0.2", uint16(len(script)), 9, 20))
				pass(t, n)
			}
		}
		for i := range int(count) {
			w.push(udp4("10.0.0.1", "10.0.0.2", uint16(i), 9, 20))
		}
		w.end()
		for range 50 {
			pass(t, n)
		}
		require.NoError(t, n.Stats().Balanced())
		for i := range guard {
			require.EqualValues(t, 0xa5, backing[i])
			require.EqualValues(t, 0xa5, backing[len(backing)-1-i])
		}
	})
}

func pass(t *testing.T, n *NIC) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.step(time.Now())
	s := n.stats
	s.Buffered = uint64(n.rx.fifo.frames())
	require.NoError(t, s.Balanced())
}

func TestTruncatedClientMemoryIsAFault(t *testing.T) {
	fd, err := unix.MemfdCreate("host", unix.MFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	require.NoError(t, unix.Ftruncate(fd, 8<<20))
	mem, err := unix.Mmap(fd, 0, 8<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	require.NoError(t, err)
	defer unix.Munmap(mem)

	r := newRig(t, Config{})
	r.h.mem = mem
	r.promiscuous()
	x := r.rx(0, 8, 2048)
	r.w.push(plain(60))
	r.run()
	require.Len(t, x.all(), 1)
	require.NoError(t, unix.Ftruncate(fd, 0x200000)) // keeps the ring, removes the buffers
	r.w.push(plain(60), plain(61), plain(62))
	r.run()
	s := r.Stats()
	require.EqualValues(t, 1, s.Unwritten)
	require.EqualValues(t, 2, s.Buffered)
	require.Contains(t, s.LastFault, "memory fault")

	require.NoError(t, unix.Ftruncate(fd, 8<<20))
	x.post(1)
	r.write(rxReg(0, qTAIL), 0) // the driver posts descriptors
	r.run()
	require.EqualValues(t, 3, r.Stats().Delivered)
}
