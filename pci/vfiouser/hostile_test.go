package vfiouser_test

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/vfiouser"
	"github.com/ixcap/ixcap/pci/vfiouser/proto"
	"github.com/ixcap/ixcap/sim/server/servertest"
)

func TestHostileServersCauseErrors(t *testing.T) {
	efd, mem := eventfd(t), memfd(t, 1<<20)
	many := make([]int, proto.MaxFDs)
	for i := range many {
		many[i] = efd
	}
	body := func(b []byte, fds ...int) func(*proto.Message) *reply { return always(&reply{body: b, fds: fds}) }
	bar := func(info proto.RegionInfo, fds ...int) script {
		info.Index, info.ArgSize = 0, info.FullSize()
		return on(proto.GetRegionInfo, region(0), body(info.Append(nil), fds...))
	}
	const mmap = 3 | proto.RegionFlagMmap
	bells := func(count uint32, entries []proto.RegionFD, fds ...int) script {
		return on(proto.GetRegionFDs, nil, body(proto.RegionFDs{ArgSize: 16 + count*48, Count: count, Entries: entries}.Append(nil), fds...))
	}
	const shadow = proto.KindShadowIOEventFD
	header := func(change func(h *proto.Header)) func(*proto.Message) *reply {
		return func(m *proto.Message) *reply { r := standard(m); r.header = change; return r }
	}

	for what, c := range map[string]struct {
		script script
		want   string
	}{
		"closes at once":           {on(proto.Version, nil, always(&reply{hangUp: true})), "closed the connection"},
		"rejects the version":      {on(proto.Version, nil, always(&reply{err: syscall.EINVAL})), "VERSION: invalid argument"},
		"no answer":                {on(proto.Version, nil, always(&reply{none: true})), "no reply within"},
		"other major version":      {on(proto.Version, nil, body(proto.VersionMsg{Major: 1}.Append(nil))), "version"},
		"newer minor version":      {on(proto.Version, nil, body(proto.VersionMsg{Minor: 7, Capabilities: proto.Proposal().Capabilities}.Append(nil))), "version"},
		"bad JSON":                 {on(proto.Version, nil, body([]byte{0, 0, 0, 0, '{', 0})), "version"},
		"short version":            {on(proto.Version, nil, body([]byte{0, 0})), "version"},
		"wrong id":                 {on(proto.GetInfo, nil, header(func(h *proto.Header) { h.ID++ })), "which was not requested"},
		"wrong command":            {on(proto.GetInfo, nil, header(func(h *proto.Header) { h.Command++ })), "reply to DEVICE_GET_INFO with command "},
		"message too short":        {on(proto.GetInfo, nil, always(&reply{raw: proto.Header{ID: 2, Command: 4, Size: 3, Flags: 1}.Append(nil)})), "message of 3 bytes"},
		"message too long":         {on(proto.GetInfo, nil, always(&reply{raw: proto.Header{ID: 2, Command: 4, Size: 1 << 30, Flags: 1}.Append(nil)})), "message of 1073741824 bytes"},
		"message cut off":          {on(proto.GetInfo, nil, always(&reply{raw: proto.Header{ID: 2, Command: 4, Size: 32, Flags: 1}.Append(nil)})), "no reply within"},
		"short info":               {on(proto.GetInfo, nil, body(make([]byte, 15))), "device info"},
		"no PCI device":            {on(proto.GetInfo, nil, body(proto.DeviceInfo{Regions: 9}.Append(nil))), "not a PCI device"},
		"too few regions":          {on(proto.GetInfo, nil, body(proto.DeviceInfo{Flags: 2, Regions: 7}.Append(nil))), "no configuration space"},
		"many descriptors":         {on(proto.GetInfo, nil, body(make([]byte, 3), many...)), "device info"},
		"error without number":     {on(proto.GetInfo, nil, header(func(h *proto.Header) { h.Flags |= proto.ErrorFlag })), "DEVICE_GET_INFO: input/output error"},
		"vectors without end":      {on(proto.GetIRQInfo, nil, body(proto.IRQInfo{Count: ^uint32(0)}.Append(nil))), "4294967295 vectors"},
		"other interrupt kind":     {on(proto.GetIRQInfo, nil, body(proto.IRQInfo{Index: 3}.Append(nil))), "kind 3"},
		"other region":             {on(proto.GetRegionInfo, nil, body(proto.RegionInfo{ArgSize: 32, Index: 5}.Append(nil))), "region 5"},
		"short region info":        {on(proto.GetRegionInfo, nil, body(make([]byte, 31))), "region info"},
		"huge argsz":               {on(proto.GetRegionInfo, nil, body(proto.RegionInfo{ArgSize: ^uint32(0)}.Append(nil))), "4294967295 bytes"},
		"growing argsz":            {on(proto.GetRegionInfo, nil, growing()), "reply still larger"},
		"negative size":            {bar(proto.RegionInfo{Size: 1 << 63}), "0x8000000000000000 bytes"},
		"no configuration space":   {on(proto.GetRegionInfo, region(7), body(proto.RegionInfo{ArgSize: 32, Index: 7}.Append(nil))), "no configuration space"},
		"tiny configuration space": {on(proto.GetRegionInfo, region(7), body(proto.RegionInfo{ArgSize: 32, Index: 7, Size: 63}.Append(nil))), "no configuration space"},
		"area beyond the file":     {bar(proto.RegionInfo{Flags: mmap, Size: 2 << 20}, mem), "mappable area"},
		"area beyond the region":   {bar(proto.RegionInfo{Flags: mmap, Size: 0x10000, Sparse: []proto.Area{{Offset: 0xf000, Size: 0x2000}}}, mem), "outside"},
		"area that overflows":      {bar(proto.RegionInfo{Flags: mmap, Size: 0x10000, Sparse: []proto.Area{{Offset: 0x1000, Size: ^uint64(0)}}}, mem), "outside"},
		"areas that overlap":       {bar(proto.RegionInfo{Flags: mmap, Size: 0x10000, Sparse: []proto.Area{{Offset: 0, Size: 0x2000}, {Offset: 0x1000, Size: 0x1000}}}, mem), "does not start on its own page"},
		"area off its page":        {bar(proto.RegionInfo{Flags: mmap, Size: 0x10000, Sparse: []proto.Area{{Offset: 0x800, Size: 0x1000}}}, mem), "does not start on its own page"},
		"second area bad":          {bar(proto.RegionInfo{Flags: mmap, Size: 4 << 20, Sparse: []proto.Area{{Offset: 0, Size: 0x1000}, {Offset: 2 << 20, Size: 0x1000}}}, mem), "mappable area"},
		"area in an eventfd":       {bar(proto.RegionInfo{Flags: mmap, Size: 0x10000}, efd), "not a regular file"},
		"area far in the file":     {bar(proto.RegionInfo{Flags: mmap, Size: 0x10000, Offset: ^uint64(0)}, mem), "mappable area"},
		"bell outside":             {bells(1, []proto.RegionFD{{Offset: 0x10000, Size: 4, Kind: shadow, ShadowIndex: 1}}, efd, mem), "doorbell at 0x10000"},
		"bell between":             {bells(1, []proto.RegionFD{{Offset: 2, Size: 4, Kind: shadow, ShadowIndex: 1}}, efd, mem), "doorbell at 0x2"},
		"bell without descriptors": {bells(1, []proto.RegionFD{{Kind: shadow, Size: 4}}), "descriptors 0 and 0 of 0"},
		"bell's descriptor index":  {bells(1, []proto.RegionFD{{Kind: shadow, Size: 4, FDIndex: 2, ShadowIndex: 1}}, efd, mem), "descriptors 2 and 1 of 2"},
		"bell's eventfd a file":    {bells(1, []proto.RegionFD{{Kind: shadow, Size: 4, FDIndex: 1, ShadowIndex: 1}}, efd, mem), "eventfd"},
		"bell's shadow an eventfd": {bells(1, []proto.RegionFD{{Kind: shadow, Size: 4}}, efd, mem), "shadow memory"},
		"second bell bad":          {bells(2, []proto.RegionFD{{Kind: shadow, Size: 4, ShadowIndex: 1}, {Offset: 4, Kind: shadow, Size: 4, FDIndex: 1, ShadowIndex: 1}}, efd, mem), "eventfd"},
		"shadow beyond the file":   {bells(1, []proto.RegionFD{{Kind: shadow, Size: 4, ShadowIndex: 1, Shadow: 0x1000}}, efd, memfd(t, 0x1000)), "shadow memory"},
		"shadow far out":           {bells(1, []proto.RegionFD{{Kind: shadow, Size: 4, ShadowIndex: 1, Shadow: 1 << 60}}, efd, mem), "shadow at"},
		"bells without entries":    {bells(1, make([]proto.RegionFD, 3), efd, mem), ""},
		"bells by the billion":     {bells(1<<26, nil, efd, mem), "bytes of description, too many"},
		"short region read":        {on(proto.RegionRead, nil, body(make([]byte, 15))), "region access"},
		"less data":                {on(proto.RegionRead, nil, truncated(-1)), "3 bytes of data"},
		"more data":                {on(proto.RegionRead, nil, truncated(+1)), "5 bytes of data"},
		"other register":           {on(proto.RegionRead, nil, body(append(proto.RegionAccess{Offset: 8, Region: 7, Count: 4}.Append(nil), 1, 2, 3, 4))), "at 0x8"},
	} {
		t.Run(what, func(t *testing.T) {
			servertest.NoLeak(t)
			near, _ := scripted(t, c.script)
			wait := 10 * time.Second
			if c.want == "no reply within" {
				wait = 100 * time.Millisecond
			}
			d, err := vfiouser.New(near, "hostile", vfiouser.Timeout(wait))
			if c.want == "" {
				require.NoError(t, err)
				require.NoError(t, d.Close())
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "open hostile: ")
			require.Nil(t, d)
		})
	}
}

// growing always reports a larger reply than was requested.
func growing() func(m *proto.Message) *reply {
	return func(m *proto.Message) *reply {
		q, _ := proto.ParseRegionInfo(m.Body)
		return &reply{body: proto.RegionInfo{ArgSize: q.ArgSize + 16, Flags: 3 | proto.RegionFlagCaps, Index: q.Index, Size: 0x1000}.Append(nil)}
	}
}

func truncated(by int) func(m *proto.Message) *reply {
	return func(m *proto.Message) *reply {
		a, _, _ := proto.ParseRegionAccess(m.Body)
		return &reply{body: append(a.Append(nil), make([]byte, int(a.Count)+by)...)}
	}
}

func TestServerWithoutDoorbells(t *testing.T) {
	servertest.NoLeak(t)
	near, _ := scripted(t, func(*proto.Message) *reply { return nil })
	d, err := vfiouser.New(near, "plain")
	require.NoError(t, err)
	r := bar0(t, d)
	r.Store32(0x18, 1)
	require.Zero(t, r.Load32(0x18))
	require.NoError(t, d.Err())
	require.NoError(t, d.Close())
}

func TestOtherKindsOfIOFDsAreWrittenByMessage(t *testing.T) {
	servertest.NoLeak(t)
	efd := eventfd(t)
	writes := make(chan uint64, 10)
	near, _ := scripted(t, func(m *proto.Message) *reply {
		switch m.Command {
		case proto.GetRegionFDs:
			return &reply{fds: []int{efd, memfd(t, 4096)}, body: proto.RegionFDs{ArgSize: 16 + 4*48, Count: 4, Entries: []proto.RegionFD{
				{Offset: 0, Size: 4, Kind: proto.KindIOEventFD}, {Offset: 4, Size: 4, Kind: proto.KindIORegionFD},
				{Offset: 8, Size: 4, Kind: proto.KindShadowIOEventFD, Flags: 1, ShadowIndex: 1}, {Offset: 16, Size: 8, Kind: proto.KindShadowIOEventFD, ShadowIndex: 1},
			}}.Append(nil)}
		case proto.RegionWrite:
			a, _, _ := proto.ParseRegionAccess(m.Body)
			writes <- a.Offset
		}
		return nil
	})
	d, err := vfiouser.New(near, "plain")
	require.NoError(t, err)
	for _, off := range []uint32{0, 4, 8, 16} {
		bar0(t, d).Store32(off, 1)
		require.EqualValues(t, off, <-writes)
	}
	require.Zero(t, count(efd, 0))
	require.NoError(t, d.Close())
}

func TestBlockingEventfdsNeverBlockAStore(t *testing.T) {
	servertest.NoLeak(t)
	efd, err := unix.Eventfd(0, unix.EFD_CLOEXEC) // blocking
	require.NoError(t, err)
	defer unix.Close(efd)
	near, _ := scripted(t, on(proto.GetRegionFDs, nil, always(&reply{fds: []int{efd, memfd(t, 4096)}, body: proto.RegionFDs{ArgSize: 16 + 48, Count: 1, Entries: []proto.RegionFD{
		{Offset: 0x18, Size: 4, Kind: proto.KindShadowIOEventFD, ShadowIndex: 1}}}.Append(nil)})))
	d, err := vfiouser.New(near, "blocking")
	require.NoError(t, err)
	bar0(t, d).Store32(0x18, 1)
	require.EqualValues(t, 1, count(efd, soon))
	full := [8]byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	_, err = unix.Write(efd, full[:])
	require.NoError(t, err)
	bar0(t, d).Store32(0x18, 2)
	require.NoError(t, d.Close())
}

func TestSparseAreasAreMemoryAndTheRestIsMessages(t *testing.T) {
	servertest.NoLeak(t)
	mem := memfd(t, 0x8000)
	messages := make(chan uint64, 10)
	near, _ := scripted(t, func(m *proto.Message) *reply {
		switch {
		case m.Command == proto.GetRegionInfo && region(0)(m):
			q, _ := proto.ParseRegionInfo(m.Body)
			info := proto.RegionInfo{Flags: 3 | proto.RegionFlagMmap, Size: 0x10000, Offset: 0x1000, Sparse: []proto.Area{{Offset: 0x2000, Size: 0x1000}, {Offset: 0x4000, Size: 0x2000}}}
			info.ArgSize = info.FullSize()
			require.GreaterOrEqual(t, q.ArgSize, info.ArgSize)
			return &reply{body: info.Append(nil), fds: []int{mem}}
		case m.Command == proto.RegionWrite:
			a, _, _ := proto.ParseRegionAccess(m.Body)
			messages <- a.Offset
		}
		return nil
	})
	d, err := vfiouser.New(near, "sparse")
	require.NoError(t, err)
	r := bar0(t, d)
	for _, off := range []uint32{0x1ffc, 0x2000, 0x2ffc, 0x3000, 0x3ffc, 0x4000, 0x5ffc, 0x6000} {
		r.Store32(off, off)
	}
	for _, off := range []uint64{0x1ffc, 0x3000, 0x3ffc, 0x6000} {
		require.Equal(t, off, <-messages)
	}
	require.Empty(t, messages)
	for _, off := range []uint32{0x2000, 0x2ffc, 0x4000, 0x5ffc} {
		require.Equal(t, off, r.Load32(off))
		var b [4]byte
		_, err := unix.Pread(mem, b[:], int64(off)+0x1000)
		require.NoError(t, err)
		require.Equal(t, byte(off), b[0])
		require.Equal(t, byte(off>>8), b[1])
	}
	require.Zero(t, testing.AllocsPerRun(10, func() { r.Store32(0x2000, r.Load32(0x2004)) }))
	require.NoError(t, d.Close())
	require.Equal(t, ^uint32(0), r.Load32(0x2000))
	r.Store32(0x2000, 1)
}

func TestLargeDescriptionsAreRequestedAgain(t *testing.T) {
	servertest.NoLeak(t)
	mem := memfd(t, 1<<20)
	info := proto.RegionInfo{Flags: 3 | proto.RegionFlagMmap, Size: 8 << 20}
	for i := range uint64(1100) {
		info.Sparse = append(info.Sparse, proto.Area{Offset: i << 12})
	}
	info.ArgSize = info.FullSize()
	require.Greater(t, info.ArgSize, uint32(16<<10))
	rooms := make(chan uint32, 10)
	near, _ := scripted(t, on(proto.GetRegionInfo, region(0), func(m *proto.Message) *reply {
		q, _ := proto.ParseRegionInfo(m.Body)
		rooms <- q.ArgSize
		b := info.Append(nil)
		return &reply{body: b[:min(len(b), int(q.ArgSize)/32*32)], fds: []int{mem}}
	}))
	d, err := vfiouser.New(near, "large")
	require.NoError(t, err)
	require.Len(t, rooms, 2)
	<-rooms
	require.Equal(t, info.ArgSize, <-rooms)
	require.NoError(t, d.Close())
}

func TestTimeoutNamesTheRegister(t *testing.T) {
	servertest.NoLeak(t)
	near, _ := scripted(t, func(m *proto.Message) *reply {
		if a, _, err := proto.ParseRegionAccess(m.Body); m.Command == proto.RegionRead && err == nil && a.Offset == 0x42a4 {
			return &reply{none: true}
		}
		return nil
	})
	d, err := vfiouser.New(near, "slow", vfiouser.Timeout(50*time.Millisecond))
	require.NoError(t, err)
	r := bar0(t, d)
	require.Equal(t, ^uint32(0), r.Load32(0x42a4))
	require.ErrorContains(t, d.Err(), "REGION_READ (region 0x0, offset 0x42a4, 4 bytes): no reply within 50ms")
	require.ErrorIs(t, d.Err(), syscall.ETIMEDOUT)
	requireLost(t, d, r)
	require.NoError(t, d.Close())
}

func TestTheEndOfTheServerIsAnErrorInEachPhase(t *testing.T) {
	for n := range 60 {
		left := n
		near, _ := scripted(t, func(m *proto.Message) *reply {
			if left--; left < 0 {
				return &reply{hangUp: true}
			}
			return nil
		})
		d, err := vfiouser.New(near, "dying", vfiouser.Timeout(soon))
		if err != nil {
			require.ErrorContains(t, err, "closed the connection", n)
			continue
		}
		r := bar0(t, d)
		m := memory(t, 4096)
		var errs []error
		iova, err := d.DMA().Map(m, dma.DeviceReads)
		errs = append(errs, err)
		errs = append(errs, d.SetVectors(pci.MSIX, 0, []int{eventfd(t)}), d.Reset())
		_, err = r.ReadAt(make([]byte, 40), 3)
		errs = append(errs, err)
		if iova != 0 {
			require.NoError(t, d.DMA().Unmap(iova))
		}
		if errors.Join(errs...) != nil {
			require.Error(t, d.Err())
			require.Equal(t, ^uint32(0), r.Load32(0))
		}
		d.Close()
	}
}

// DMA messages of the server access mapped memory only, within its bounds and rights.
func TestServerAccessesMappedMemoryOnly(t *testing.T) {
	servertest.NoLeak(t)
	replies := make(chan proto.Message, 1)
	near, far := servertest.Pair(t)
	conn := proto.NewConn(far, time.Second)
	go func() {
		for {
			var m proto.Message
			if conn.Receive(&m) != nil {
				return
			}
			if m.IsReply() {
				m.Release()
				replies <- m
				continue
			}
			standard(&m).send(far, conn, &m)
			m.Release()
		}
	}()
	d, err := vfiouser.New(near, "requests", vfiouser.PrivateDMA())
	require.NoError(t, err)
	a, b := memory(t, 8192), memory(t, 4096)
	ro, err := d.DMA().Map(a, dma.DeviceReads)
	require.NoError(t, err)
	wo, err := d.DMA().Map(b, dma.DeviceWrites)
	require.NoError(t, err)
	fill(a.Bytes())
	send := func(command proto.Command, addr uint64, n uint64, data []byte, fds ...int) proto.Message {
		require.NoError(t, conn.Send(proto.Header{ID: 5, Command: command}, fds, proto.DMAAccess{Address: addr, Count: n}.Append(nil), data))
		select {
		case m := <-replies:
			require.EqualValues(t, 5, m.ID)
			require.Equal(t, command, m.Command)
			return m
		case <-time.After(soon):
			t.Fatal("no answer from the client")
			panic("unreachable")
		}
	}
	r, w := uint64(ro), uint64(wo)
	m := send(proto.DMARead, r+4000, 4192, nil)
	require.NoError(t, m.Err())
	require.Equal(t, a.Bytes()[4000:], m.Body[16:])
	m = send(proto.DMAWrite, w+4090, 6, []byte("sixsix"))
	require.NoError(t, m.Err())
	require.Len(t, m.Body, 16)
	require.Equal(t, "sixsix", string(b.Bytes()[4090:]))
	for what, c := range map[string]struct {
		want    error
		command proto.Command
		addr, n uint64
		data    int
	}{
		"write to read-only memory":     {syscall.EACCES, proto.DMAWrite, r, 4, 4},
		"read of write-only memory":     {syscall.EACCES, proto.DMARead, w, 4, 0},
		"beyond the end":                {syscall.EFAULT, proto.DMARead, r + 8190, 3, 0},
		"before the first":              {syscall.EFAULT, proto.DMARead, r - 1, 1, 0},
		"address 0":                     {syscall.EFAULT, proto.DMARead, 0, 1, 0},
		"the last address":              {syscall.EFAULT, proto.DMARead, ^uint64(0), 1, 0},
		"more than a message carries":   {syscall.EINVAL, proto.DMARead, r, proto.MaxTransfer + 1, 0},
		"a count that overflows":        {syscall.EINVAL, proto.DMARead, r + 1, ^uint64(0), 0},
		"read with data":                {syscall.EINVAL, proto.DMARead, r, 4, 4},
		"write with less data":          {syscall.EINVAL, proto.DMAWrite, w, 4, 3},
		"another command of the server": {syscall.ENOTSUP, proto.RegionRead, 0, 0, 0},
		"an unknown command":            {syscall.ENOTSUP, 77, 0, 0, 0},
	} {
		m := send(c.command, c.addr, c.n, make([]byte, c.data))
		require.ErrorIs(t, m.Err(), c.want, what)
	}
	m = send(proto.DMARead, r, 4, nil, eventfd(t))
	require.ErrorIs(t, m.Err(), syscall.EINVAL, "with a descriptor")
	require.NoError(t, d.DMA().Unmap(ro))
	m = send(proto.DMARead, r, 4, nil)
	require.ErrorIs(t, m.Err(), syscall.EFAULT, "unmapped")
	require.NoError(t, d.Err())
	require.NoError(t, d.Close())
}

func TestAFailedUnmapKeepsTheMapping(t *testing.T) {
	var allow atomic.Bool
	near, _ := scripted(t, on(proto.DMAUnmap, func(*proto.Message) bool { return !allow.Load() }, always(&reply{err: syscall.EBUSY})))
	d, err := vfiouser.New(near, "busy")
	require.NoError(t, err)
	iova, err := d.DMA().Map(memory(t, 4096), dma.DeviceReads)
	require.NoError(t, err)
	require.ErrorIs(t, d.DMA().Unmap(iova), syscall.EBUSY)
	allow.Store(true)
	require.NoError(t, d.DMA().Unmap(iova))
	require.NoError(t, d.Close())
}
