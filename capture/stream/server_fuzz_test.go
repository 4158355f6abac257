package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pair returns the two ends of a connection between a listener and a test.
func pair(tb testing.TB) (near, far *net.UnixConn) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	require.NoError(tb, err)
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		require.NoError(tb, err)
		require.NoError(tb, f.Close())
		conns[i] = c.(*net.UnixConn)
	}
	return conns[0], conns[1]
}

// Whatever request a process sends, the server answers or closes, and continues.
func FuzzAttachRequest(f *testing.F) {
	f.Add(encodeRequest("reader", Options{}), uint8(0))
	f.Add(encodeRequest("reader", Options{Policy: Lossy, Start: FromOldest, Aligned: true}), uint8(1))
	f.Add(encodeRequest("reader", Options{DetachAfter: time.Hour}), uint8(2))
	f.Add(encodeRequest("reader", Options{Fanout: "group=2\nmode=filter\nfilter=tcp port 80\nmember=a\nweight=3\n"}), uint8(0))
	f.Add(encodeRequest("reader", Options{Policy: Lossy, Fanout: "group=65535\ntunnels=gre,vxlan\ndeparted=count\n"}), uint8(2))
	f.Add(goodbye(), uint8(3))
	f.Add([]byte{}, uint8(0))
	s := newStream(f, Config{Size: Block})
	srv := &Server{stream: s, timeout: timeout, pending: make(chan struct{}, 1), done: make(chan struct{}), peers: map[*peer]struct{}{}}
	srv.setOnEvent(nil)
	s.Producer().Append(1, 1, numbered(1, 100), 0)
	s.Producer().Publish()
	f.Fuzz(func(t *testing.T, message []byte, then uint8) {
		near, far := pair(t)
		defer near.Close()
		srv.pending <- struct{}{}
		served := make(chan struct{})
		p := &peer{conn: far}
		srv.register(p)
		go func() {
			defer close(served)
			srv.serve(p)
		}()
		if _, err := near.Write(message); err != nil {
			require.ErrorIs(t, err, unix.EMSGSIZE)
		}
		if then%2 == 1 {
			_, _ = near.Write(message) // may have been closed already
		}
		if then&2 != 0 {
			require.NoError(t, near.CloseWrite())
		}
		if len(message) > 0 && then&2 == 0 {
			a, fds, err := receiveAnswer(near)
			closeAll(fds)
			if err == nil {
				require.Equal(t, a.state == granted, len(fds) == 3)
			}
		}
		require.NoError(t, near.Close())
		<-served
		require.Empty(t, srv.pending)
		s.Producer().Publish() // departed members need it
		st := s.Stats()
		require.Empty(t, st.Listeners)
		for i := range st.Groups {
			require.NoError(t, st.Groups[i].Balanced())
		}
	})
}

// granting is the answer that a new listener of the stream gets.
func granting(tb testing.TB, s *Stream) answer {
	g := s.grant(s.attached[listen(tb, s, Options{}).slot], Options{})
	return answer{state: granted, id: g.id, dataBytes: g.data.bytes, ctrlBytes: g.control.bytes, dataPage: pageBytes, controlPage: pageBytes}
}

// Whatever answer and descriptors Attach gets, it returns an error or a listener that
// reads corrupt values; it never crashes.
func FuzzAttachAnswer(f *testing.F) {
	s := newStream(f, Config{Size: Block})
	for n := range uint32(1000) {
		require.True(f, s.Producer().Append(1, n, numbered(n, 100), 0))
	}
	s.Producer().Publish()
	good := granting(f, s)
	f.Add(good.encode(), []byte{0, 1, 2}, []byte{}, uint16(0), []byte{})
	f.Add(good.encode(), []byte{0, 1, 2}, []byte{255, 255, 255, 255, 255, 255, 255, 255}, uint16(cursorsAt+256), []byte{})
	f.Add(good.encode(), []byte{0, 1, 2}, []byte{1, 0, 0, 0, 0, 0, 0, 128}, uint16(cursorsAt), []byte{3})
	f.Add(good.encode(), []byte{0, 1, 2}, []byte{1}, uint16(cursorsAt+1024+512), []byte{0, 0, 0, 0, 0, 0, 0, 9})
	f.Add(good.encode(), []byte{0, 1, 2}, []byte{200, 1}, uint16(40), []byte{})
	member := good
	member.group, member.member = 0, 1
	f.Add(member.encode(), []byte{0, 1, 2}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255}, uint16(cursorsAt+2048), []byte{})
	f.Add(member.encode(), []byte{0, 1, 2}, []byte{9, 9, 1, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255}, uint16(cursorsAt+2048), []byte{7})
	f.Add(good.encode(), []byte{1, 0, 2}, []byte{}, uint16(0), []byte{})
	f.Add(good.encode(), []byte{3, 1, 2}, []byte{}, uint16(0), []byte{})
	f.Add(good.encode(), []byte{0, 4, 2}, []byte{}, uint16(0), []byte{})
	f.Add(good.encode(), []byte{0, 1, 5}, []byte{}, uint16(0), []byte{})
	f.Add(good.encode(), []byte{0, 1}, []byte{}, uint16(0), []byte{})
	f.Add(good.encode(), []byte{0, 1, 2, 2, 2, 2, 2, 2, 2}, []byte{}, uint16(0), []byte{})
	f.Add((&answer{state: refused, text: "no"}).encode(), []byte{}, []byte{}, uint16(0), []byte{})
	f.Add((&answer{state: detached, text: "bye"}).encode(), []byte{0}, []byte{}, uint16(0), []byte{})
	// Kinds 6 to 11 are those of a stream with a pool.
	pooled := newPlaced(f)
	pool := granting(f, pooled)
	h := pooled.view.header
	f.Add(pool.encode(), []byte{6, 7, 8}, []byte{}, uint16(0), []byte{})
	f.Add(pool.encode(), []byte{6, 7, 8}, []byte{0, 0, 0, 0, 0, 0, 0, 0}, uint16(152), []byte{})                 // no pool
	f.Add(pool.encode(), []byte{6, 7, 8}, []byte{255, 255, 255, 255, 255, 255, 255, 255}, uint16(160), []byte{}) // many buffers
	f.Add(pool.encode(), []byte{6, 7, 8}, []byte{0, 1, 0, 0, 0, 1, 0, 0}, uint16(168), []byte{})                 // small ones
	f.Add(pool.encode(), []byte{6, 7, 8}, []byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, uint16(h.IndexAt+12), []byte{})
	f.Add(pool.encode(), []byte{0, 7, 8}, []byte{}, uint16(0), []byte{})
	f.Add(good.encode(), []byte{0, 1, 2}, binary.LittleEndian.AppendUint64(nil, 1<<32|1), uint16(160), []byte{}) // buffers without a pool
	streams := []*Stream{s, pooled}
	controls := [][]byte{bytes.Clone(s.control.Bytes()), bytes.Clone(pooled.control.Bytes())}
	f.Fuzz(func(t *testing.T, message, kinds, patch []byte, at uint16, page []byte) {
		near, far := pair(t)
		defer far.Close()
		var fds []int
		defer func() { closeAll(fds) }()
		for _, k := range kinds[:min(len(kinds), 10)] {
			of := k / 6 % 2
			fds = append(fds, kindOf(t, streams[of], k, controls[of], patch, int(at), page))
		}
		var rights []byte
		if len(fds) > 0 {
			rights = unix.UnixRights(fds...)
		}
		if _, _, err := far.WriteMsgUnix(message, rights, nil); err != nil {
			require.NoError(t, near.Close())
			return
		}
		require.NoError(t, far.CloseWrite())
		r := &remote{conn: near}
		o := Options{}
		if len(message) > 30 && message[30] != 0 {
			o.Fanout = "group=1"
		}
		l, err := r.attach("reader", o)
		if err != nil {
			require.NoError(t, near.Close())
			return
		}
		go r.watch()
		packets := make([]Packet, 10)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
			_, _ = l.ReadBatch(ctx, packets)
			_, _ = l.ReadBlock(ctx, 1000)
			_ = l.Consume(min(10, max(0, l.InFlight())))
			for range l.Packets(ctx) {
				break
			}
			cancel()
		}
		_ = l.Stats()
		require.NoError(t, l.Close())
	})
}

// The seeds of FuzzAttachAnswer are valid answers, apart from their patches.
func TestAnswerWithTheRightDescriptorsIsAccepted(t *testing.T) {
	copying, pooled := newStream(t, Config{Size: Block}), newPlaced(t)
	for name, c := range map[string]struct {
		pool  bool
		kinds []byte
		want  string
	}{
		"of a pool":         {pool: true, kinds: []byte{0, 1, 2}},
		"right":             {kinds: []byte{0, 1, 2}},
		"one missing":       {kinds: []byte{0, 1}, want: "2 descriptors instead of 3"},
		"one too many":      {kinds: []byte{0, 1, 2, 2}, want: "4 descriptors instead of 3"},
		"control not fixed": {kinds: []byte{0, 4, 2}, want: "control memory: its seals"},
		"data an eventfd":   {kinds: []byte{3, 1, 2}, want: "data memory: not a memfd"},
		"swapped":           {kinds: []byte{1, 0, 2}, want: "control memory: it has"},
		"cursor too small":  {kinds: []byte{0, 1, 5}, want: "cursor page: it has 100 bytes"},
	} {
		s := copying
		if c.pool {
			s = pooled
		}
		good := granting(t, s)
		near, far := pair(t)
		var fds []int
		for _, k := range c.kinds {
			fds = append(fds, kindOf(t, s, k, s.control.Bytes(), nil, 0, nil))
		}
		_, _, err := far.WriteMsgUnix(good.encode(), unix.UnixRights(fds...), nil)
		require.NoError(t, err)
		closeAll(fds)
		r := &remote{conn: near}
		l, err := r.attach("reader", Options{})
		if c.want != "" {
			require.ErrorContains(t, err, c.want, name)
			require.NoError(t, near.Close())
		} else {
			require.NoError(t, err, name)
			go r.watch()
			require.NoError(t, l.Close())
		}
		require.NoError(t, far.Close())
	}
}

// kindOf makes a descriptor: the three valid ones, of which control and cursor may
// have corrupt contents, and invalid ones.
func kindOf(t *testing.T, s *Stream, kind byte, control, patch []byte, at int, page []byte) int {
	fill := func(length, seals int, contents ...[]byte) int {
		fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		require.NoError(t, err)
		require.NoError(t, unix.Ftruncate(fd, int64(length)))
		require.NoError(t, unix.Fallocate(fd, 0, 0, int64(length)))
		for i, b := range contents {
			_, err := unix.Pwrite(fd, b[:min(len(b), length-i*at)], int64(i*at))
			require.NoError(t, err)
		}
		if seals != 0 {
			_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
			require.NoError(t, err)
		}
		return fd
	}
	const size = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	switch kind % 6 {
	case 0:
		fd, err := unix.FcntlInt(uintptr(s.data.Fd()), unix.F_DUPFD_CLOEXEC, 0)
		require.NoError(t, err)
		return fd
	case 1:
		return fill(len(control), size|unix.F_SEAL_FUTURE_WRITE, control, patch)
	case 2:
		return fill(pageBytes, size, page)
	case 3:
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
		require.NoError(t, err)
		return fd
	case 4:
		return fill(len(control), 0, control) // may shrink
	default:
		return fill(100, size)
	}
}
