package driver_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/driver/drivertest"
	"github.com/ixcap/ixcap/ring"
)

const txIOVA dma.IOVA = 0x20_0000_0000

// sender is a device that sends the frames of a transmit queue.
type sender struct {
	t     *testing.T
	descs []ring.TxDescriptor
	bufs  []byte
	tail  drivertest.Register
	head  uint32
	sent  [][]byte
}

func newSender(t *testing.T, size int) (*sender, *driver.TxQueue) {
	mem := make([]byte, size*16)
	s := &sender{t: t, bufs: make([]byte, size*2048)}
	s.descs = ring.TxDescriptors(mem)
	q, err := driver.NewTxQueue(driver.TxMemory{Descriptors: mem, Buffers: s.bufs, IOVA: txIOVA, BufferSize: 2048, Stride: 2048, Tail: &s.tail, MaxFrame: driver.MaxFrame})
	require.NoError(t, err)
	return s, q
}

// run sends up to n descriptors and writes back those with RS.
func (s *sender) run(n int) {
	var frame []byte
	for ; n > 0 && s.head != s.tail.Value(); n-- {
		d := &s.descs[s.head]
		require.True(s.t, d.IsData())
		addr, length, total, c := d.Data()
		at := int(addr - uint64(txIOVA))
		frame = append(frame, s.bufs[at:at+length]...)
		require.NotZero(s.t, c&ring.TxIFCS)
		if c&ring.TxEOP != 0 {
			require.Len(s.t, frame, total)
			s.sent = append(s.sent, frame)
			frame = nil
		} else {
			require.Zero(s.t, c&ring.TxRS, "only the last descriptor of a frame reports")
			n++ // complete frames only
		}
		if c&ring.TxRS != 0 {
			d.WriteBack()
		}
		s.head = ring.Next(s.head, uint32(len(s.descs)))
	}
}

func TestSendKeepsBytesAndOrder(t *testing.T) {
	s, q := newSender(t, 64)
	rnd := rand.New(rand.NewPCG(1, 2))
	var want [][]byte
	for range 500 {
		var frames [][]byte
		for range rnd.IntN(40) {
			f := make([]byte, 1+rnd.IntN([]int{60, 1514, 9014, 15868}[rnd.IntN(4)]))
			for i := range f {
				f[i] = byte(rnd.Uint32())
			}
			frames = append(frames, f)
		}
		n := q.Send(frames)
		for _, f := range frames[:n] {
			padded := append(bytes.Clone(f), make([]byte, max(0, 60-len(f)))...)
			want = append(want, padded)
			clear(f) // the caller may reuse its memory
		}
		s.run(rnd.IntN(200))
	}
	s.run(1000)
	require.Zero(t, q.Pending())
	require.Equal(t, len(want), len(s.sent))
	for i := range want {
		require.Equal(t, want[i], s.sent[i], "frame %d", i)
	}
	require.Zero(t, q.Refused())
}

func TestSendStopsAtAFullRing(t *testing.T) {
	s, q := newSender(t, 16)
	frames := make([][]byte, 20)
	for i := range frames {
		frames[i] = make([]byte, 60)
	}
	require.Equal(t, 15, q.Send(frames), "one descriptor stays empty")
	require.Zero(t, q.Send(frames))
	require.Equal(t, 15, q.Pending())
	require.Equal(t, 1, s.tail.Writes(), "one write of the tail for all")
	s.run(15)
	require.Equal(t, 5, q.Send(frames[:5]))
	s.run(5)
	require.Zero(t, q.Pending(), "reclaimed without another Send")
	long := make([]byte, driver.MaxFrame)
	require.Equal(t, 1, q.Send([][]byte{long, long}), "8 of 15 descriptors, then 7 are not enough")
	require.Equal(t, 7, q.Send(frames))
}

func TestSendDropsImpossibleFrames(t *testing.T) {
	s, q := newSender(t, 16)
	require.Equal(t, 3, q.Send([][]byte{nil, make([]byte, 60), make([]byte, 16000)}))
	require.EqualValues(t, 2, q.Refused())
	s.run(9)
	require.Len(t, s.sent, 1)
}

func TestSendDoesNotAllocate(t *testing.T) {
	s, q := newSender(t, 64)
	frames := [][]byte{make([]byte, 60), make([]byte, 1514), make([]byte, 9014)}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		q.Send(frames)
		// Write back without the checks, which allocate.
		for s.head != s.tail.Value() {
			s.descs[s.head].WriteBack()
			s.head = ring.Next(s.head, 64)
		}
	}))
}

// Buffers keep their frames: the pool is sent over and over without being filled again.
func TestPostSendsThePoolInTurn(t *testing.T) {
	s, q := newSender(t, 16)
	for i := range q.Free() {
		b := q.Buffer(i)
		b.Data = b.Data[:60+i]
		b.Data[0] = byte(i)
	}
	for len(s.sent) < 100 {
		n := min(q.Free(), 5)
		require.Equal(t, n, q.Post(n))
		s.run(1000)
	}
	for i, f := range s.sent {
		require.Len(t, f, 60+i%16)
		require.EqualValues(t, i%16, f[0])
	}
}

func TestPostStopsAtAFullRing(t *testing.T) {
	s, q := newSender(t, 16)
	for i := range q.Free() {
		q.Buffer(i).Data = q.Buffer(i).Data[:60]
	}
	require.Equal(t, 15, q.Post(16))
	require.Zero(t, q.Post(1))
	require.Equal(t, 1, q.Free())
	s.run(15)
	require.Equal(t, 16, q.Free())
	require.Equal(t, 16, q.Buffers())
	q.Buffer(0).Data = nil
	q.Buffer(1).More = true
	require.Equal(t, 1, q.Post(2), "the second packet is not complete")
	require.EqualValues(t, 1, q.Refused())
}

// A context is written once for packets of one kind, and two kinds in turn have a context
// each.
func TestOffloadsShareContexts(t *testing.T) {
	s, q := newSender(t, 64)
	a := &driver.TxOffload{MACLen: 14, IPLen: 20, VLAN: 5, InsertVLAN: true}
	b := &driver.TxOffload{MACLen: 14, IPLen: 40, IPv6: true, L4: ring.L4TCP, L4Len: 20, L4Checksum: true}
	for i := range 20 {
		q.Buffer(i).Data = q.Buffer(i).Data[:100]
		q.Buffer(i).Offload = []*driver.TxOffload{a, b}[i%2]
	}
	require.Equal(t, 20, q.Post(20))
	contexts, index := 0, [2]ring.TxContext{}
	for i := range s.tail.Value() {
		d := &s.descs[i]
		if d.IsContext() {
			contexts++
			index[d.Context().Index] = d.Context()
			continue
		}
		_, _, _, c := d.Data()
		slot := c >> 36 & 7
		require.NotZero(t, c&ring.TxCC)
		if c&ring.TxVLE != 0 {
			require.EqualValues(t, 5, index[slot].VLAN)
			require.Zero(t, c&ring.TxTXSM)
		} else {
			require.False(t, index[slot].IPv4)
			require.NotZero(t, c&ring.TxTXSM)
		}
	}
	require.Equal(t, 2, contexts)
	require.EqualValues(t, 22, s.tail.Value())
}

func TestHeadWriteBackFreesBuffers(t *testing.T) {
	mem, head := make([]byte, 16*16), make([]byte, 8)
	q, err := driver.NewTxQueue(driver.TxMemory{Descriptors: mem, Buffers: make([]byte, 16*2048), BufferSize: 2048, Stride: 2048, Head: head, Tail: &drivertest.Register{}, MaxFrame: 1514})
	require.NoError(t, err)
	frames := make([][]byte, 15)
	for i := range frames {
		frames[i] = make([]byte, 60)
	}
	for round := range uint32(5) {
		require.Equal(t, 5, q.Send(frames[:5]))
		require.Equal(t, 5, q.Send(frames[:5]))
		binary.LittleEndian.PutUint32(head, (round*10+5)%16)
		require.Equal(t, 5, q.Pending())
		binary.LittleEndian.PutUint32(head, (round*10+7)%16)
		require.Equal(t, 5, q.Pending(), "up to a descriptor that reports")
		binary.LittleEndian.PutUint32(head, (round*10+10)%16)
		require.Zero(t, q.Pending())
		require.Equal(t, 16, q.Free())
	}
}

func TestNewTxQueueRefusesImpossibleMemory(t *testing.T) {
	_, err := driver.NewTxQueue(driver.TxMemory{Descriptors: make([]byte, 16*9)})
	require.ErrorContains(t, err, "multiple of 8")
	_, err = driver.NewTxQueue(driver.TxMemory{Descriptors: make([]byte, 16*8)})
	require.ErrorContains(t, err, "want at least 60 bytes")
	_, err = driver.NewTxQueue(driver.TxMemory{Descriptors: make([]byte, 16*8), BufferSize: 2048, Stride: 2048})
	require.ErrorContains(t, err, "hold no 8 buffers")
	_, err = driver.NewTxQueue(driver.TxMemory{Descriptors: make([]byte, 16*8), Buffers: make([]byte, 8*2048), BufferSize: 2048, Stride: 2048})
	require.ErrorContains(t, err, "no tail register")
}
