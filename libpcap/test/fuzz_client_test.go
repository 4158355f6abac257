package test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// Sizes of the memory that a fuzzed capture serves.
const (
	fuzzedData    = 1 << 20
	fuzzedEntries = 1024
	fuzzedControl = 2*4096 + 32*fuzzedEntries
)

// program returns the instructions in a fuzzed text, of eight bytes each. They follow
// stores of zero to the scratch memory, which libpcap does not clear.
func program(text []byte) (code []bpf.RawInstruction) {
	for k := range uint32(16) {
		code = append(code, bpf.RawInstruction{Op: 2, K: k})
	}
	for ; len(text) >= 8 && len(code) < 100; text = text[8:] {
		code = append(code, bpf.RawInstruction{
			Op: binary.LittleEndian.Uint16(text), Jt: text[2], Jf: text[3], K: binary.LittleEndian.Uint32(text[4:]),
		})
	}
	return code
}

// accepts is whether another interpreter accepts the frame; it is not known where the two
// have different rules for programs: that one refuses some, and has the kernel's extensions.
func accepts(code []bpf.RawInstruction, frame []byte) (accepted, known bool) {
	instructions, all := bpf.Disassemble(code)
	for _, i := range instructions {
		if _, extension := i.(bpf.LoadExtension); extension {
			return false, false
		}
		if o, ok := i.(bpf.ALUOpConstant); ok && (o.Op == bpf.ALUOpShiftLeft || o.Op == bpf.ALUOpShiftRight) && o.Val > 31 {
			return false, false // C does not define it
		}
	}
	vm, err := bpf.NewVM(instructions)
	if !all || err != nil {
		return false, false
	}
	n, err := vm.Run(frame)
	return n != 0, err == nil
}

// loops is whether a program jumps back, which ends only if the program says so.
func loops(code []bpf.RawInstruction) bool {
	return slices.ContainsFunc(code, func(i bpf.RawInstruction) bool { return i.Op == 5 && i.K >= 1<<31 })
}

// Any program is refused, or it selects the frames that another interpreter selects.
func FuzzFilter(f *testing.F) {
	add := func(frame []byte, instructions ...bpf.Instruction) {
		code, err := bpf.Assemble(instructions)
		require.NoError(f, err)
		var text []byte
		for _, i := range code {
			text = binary.LittleEndian.AppendUint16(text, i.Op)
			text = binary.LittleEndian.AppendUint32(append(text, i.Jt, i.Jf), i.K)
		}
		f.Add(text, frame)
	}
	frame := make([]byte, 60)
	frame[12], frame[14], frame[23] = 8, 0x45, 17
	add(frame, bpf.RetConstant{Val: 1})
	add(frame, bpf.LoadAbsolute{Off: 12, Size: 2}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x800, SkipFalse: 1}, bpf.RetConstant{Val: 262144}, bpf.RetConstant{})
	add(frame, bpf.LoadMemShift{Off: 14}, bpf.LoadIndirect{Off: 16, Size: 2}, bpf.StoreScratch{Src: bpf.RegA, N: 15}, bpf.LoadScratch{Dst: bpf.RegX, N: 15}, bpf.TXA{}, bpf.RetA{})
	add(frame, bpf.LoadConstant{Dst: bpf.RegX, Val: 0}, bpf.LoadConstant{Dst: bpf.RegA, Val: 7}, bpf.ALUOpX{Op: bpf.ALUOpDiv}, bpf.RetA{})
	add(frame, bpf.LoadExtension{Num: bpf.ExtLen}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 1}, bpf.RetA{})

	s := serve(f, f.TempDir(), "eth7-queue0.sock", stream.Config{})
	d := unlimited(f)
	d.open("ixcap:"+s.path, "nonblock 1")
	f.Fuzz(func(t *testing.T, text, frame []byte) {
		code := program(text)
		if len(text) < 8 || loops(code) || len(frame) == 0 || len(frame) > 1500 {
			return
		}
		d.t, s.t, s.packets = t, t, nil
		var hex strings.Builder
		for _, i := range code {
			fmt.Fprintf(&hex, "%04x%02x%02x%08x", i.Op, i.Jt, i.Jf, i.K)
		}
		if d.do("raw_filter %d %s", len(code), &hex) != "0" {
			return
		}
		s.put(packet{sec: 1, len: len(frame), data: frame}, ring.Frame{Data: frame, Len: uint32(len(frame))})
		s.Producer().Publish()
		got := d.do("dispatch 1")
		accepted, known := accepts(code, frame)
		switch {
		case !known:
		case accepted:
			require.Equal(t, result(1, s.packets, false), got)
		default:
			require.True(t, strings.HasPrefix(got, "0 0 0 "), got)
		}
	})
}

// unlimited is a sanitized drive that runs as long as the test.
func unlimited(t testing.TB, variables ...string) *driver {
	d := startUnlimited(t, variables...)
	t.Cleanup(func() {
		d.in.Close()
		require.NoError(t, d.cmd.Wait(), "%s", d.err)
	})
	return d
}

func startUnlimited(t testing.TB, variables ...string) *driver {
	b := sanitized(t)
	d := &driver{t: t, cmd: exec.Command(b.drive), err: &strings.Builder{}}
	d.cmd.Env, d.cmd.Stderr = b.environment(variables...), d.err
	var err error
	d.in, err = d.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	d.out = bufio.NewReader(out)
	require.NoError(t, d.cmd.Start())
	return d
}

// memory returns a sealed memory of the size with the parts at their offsets.
func memory(t testing.TB, size int, parts map[int][]byte) int {
	fd, err := unix.MemfdCreate("fuzzed", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	require.NoError(t, err)
	require.NoError(t, unix.Ftruncate(fd, int64(size)))
	for at, part := range parts {
		part = part[:min(len(part), size-at)]
		n, err := unix.Pwrite(fd, part, int64(at))
		require.NoError(t, err)
		require.Equal(t, len(part), n)
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	require.NoError(t, err)
	return fd
}

// capture is what a client sees of one: the answer to its request and three memories
// (docs/STREAM.md).
type capture struct{ answer, header, cursors, index, data, cursor []byte }

// sound is a capture of n frames whose listener has slot 5.
func sound(n int) capture {
	le := binary.LittleEndian
	c := capture{make([]byte, 64), make([]byte, 176), make([]byte, 4096), make([]byte, 32*n), make([]byte, 128*n), make([]byte, 512)}
	copy(c.answer, "XCAPANS1")
	le.PutUint32(c.answer[8:], 4)
	le.PutUint64(c.answer[16:], 77)
	le.PutUint32(c.answer[24:], 5)
	c.answer[29] = 255
	le.PutUint64(c.answer[32:], fuzzedData)
	le.PutUint64(c.answer[40:], fuzzedControl)
	le.PutUint32(c.answer[48:], 4096)
	le.PutUint32(c.answer[52:], 4096)
	copy(c.header, "XCAPSTR1")
	le.PutUint32(c.header[8:], 4)
	le.PutUint64(c.header[16:], fuzzedData)
	le.PutUint64(c.header[32:], fuzzedEntries)
	le.PutUint64(c.header[40:], 8192)
	le.PutUint32(c.header[72:], 32)
	le.PutUint32(c.header[84:], 4)
	copy(c.header[88:], "eth7")
	for i := range n {
		le.PutUint64(c.index[32*i:], uint64(128*i))
		le.PutUint16(c.index[32*i+16:], 60)
		le.PutUint16(c.index[32*i+18:], 60)
	}
	le.PutUint64(c.cursors[0:], uint64(128*n))
	le.PutUint64(c.cursors[8:], uint64(n))
	le.PutUint64(c.cursors[128:], uint64(128*n))
	le.PutUint64(c.cursors[256:], uint64(n))
	le.PutUint64(c.cursors[1024+8*5:], 77)
	return c
}

// attachment is a client's connection and the memories that it has.
type attachment struct {
	net.Conn
	data, control, cursor, spare int
}

// alter writes patches into the memories.
func (a attachment) alter(t testing.TB, patches []byte) {
	for ; len(patches) >= 11; patches = patches[11:] {
		at := int64(binary.LittleEndian.Uint16(patches[1:]))
		fd := a.control
		switch patches[0] % 5 {
		case 0:
			at %= 168
		case 1:
			at = 4096 + at%4088
		case 2:
			at = 8192 + at%2048
		case 3:
			fd = a.data
		case 4:
			fd, at = a.cursor, at%4088
		}
		_, err := unix.Pwrite(fd, patches[3:11], at)
		require.NoError(t, err)
	}
}

func (a attachment) close() {
	a.Conn.Close()
	for _, fd := range []int{a.data, a.control, a.cursor, a.spare} {
		unix.Close(fd)
	}
}

// serve answers the client that connects with the capture and the first n of its memories.
func (c capture) serve(t testing.TB, l *net.UnixListener, n int) attachment {
	require.NoError(t, l.SetDeadline(time.Now().Add(timeout)))
	conn, err := l.AcceptUnix()
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 8192))
	require.NoError(t, err)
	a := attachment{
		Conn:    conn,
		data:    memory(t, fuzzedData, map[int][]byte{0: c.data}),
		control: memory(t, fuzzedControl, map[int][]byte{0: c.header, 4096: c.cursors, 8192: c.index}),
		cursor:  memory(t, 4096, map[int][]byte{0: c.cursor}),
		spare:   memory(t, 4096, nil),
	}
	fds := []int{a.data, a.control, a.cursor, a.spare}
	_, _, err = conn.WriteMsgUnix(c.answer, syscall.UnixRights(fds[:n]...), nil)
	require.NoError(t, err)
	if len(c.answer) == 0 {
		conn.Close() // which is what such an answer means
	}
	return a
}

// read attaches to the capture and reads what it has, before and after it is altered.
func (c capture) read(t testing.TB, d *driver, l *net.UnixListener, descriptors int, later []byte) (activated, read string) {
	d.t = t
	limit := time.AfterFunc(20*time.Second, func() { _ = d.cmd.Process.Signal(syscall.SIGABRT) })
	defer limit.Stop()
	require.Equal(t, "ok", d.do("create 0 ixcap:%s", l.Addr()))
	require.Equal(t, "0", d.do("nonblock 1"))
	d.send("activate 0")
	a := c.serve(t, l, descriptors)
	defer a.close()
	activated = d.receive()
	if activated == "0" {
		// Frames without end of which none is the reader's: pcap_breakloop ends the calls.
		require.Equal(t, "0", d.do("signal_in 50"))
		read = d.do("dispatch 100")
		require.Equal(t, "0", d.do("signal_in 50"))
		a.alter(t, later)
		d.do("dispatch 100")
		require.Equal(t, "0", d.do("signal_in 50"))
		d.do("next_ex 1")
		require.Equal(t, "0", d.do("signal_in 0"))
		d.do("stats 0")
	}
	require.Equal(t, "0", d.do("close 0"))
	return activated, read
}

// patch is an altered word of a capture.
func patch(area, offset int, value uint64) []byte {
	return binary.LittleEndian.AppendUint64([]byte{byte(area), byte(offset), byte(offset >> 8)}, value)
}

// altered returns the capture with patches of eleven bytes, and an answer of n bytes.
func (c capture) altered(patches []byte, n int) capture {
	c.answer = append(c.answer, make([]byte, 1000)...)
	areas := [][]byte{c.answer, c.header, c.cursors, c.index, c.data, c.cursor}
	for ; len(patches) >= 11; patches = patches[11:] {
		area := areas[int(patches[0])%len(areas)]
		at := int(binary.LittleEndian.Uint16(patches[1:])) % len(area)
		copy(area[at:], patches[3:11])
	}
	c.answer = c.answer[:n%len(c.answer)]
	return c
}

// The client trusts no byte of an answer and of the memory that comes with it: whatever
// they hold, it refuses the capture or reads within the memory, without an error that ASan,
// UBSan or the processor's memory protection finds.
func FuzzAnswer(f *testing.F) {
	const answer, header, cursors, index, data, cursor = 0, 1, 2, 3, 4, 5
	f.Add([]byte{}, uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(patch(answer, 8, 1<<32|3), patch(answer, 56, 300)), uint16(364), uint8(0), []byte{})
	f.Add(slices.Concat(patch(cursors, 256, 1<<40), patch(cursors, 128, 1<<50)), uint16(64), uint8(4), []byte{})
	f.Add(slices.Concat(patch(cursors, 8, 1<<40), patch(cursors, 0, 1<<50), patch(cursor, 136, 1<<20)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(patch(answer, 24, 5|2<<40|1<<48), patch(index, 24, 0x010101), patch(index, 56, 0x810000), patch(cursors, 2048, 1), patch(cursors, 2176, 2)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(patch(index, 0, 1<<63), patch(index, 16, 0xffffffffffffffff), patch(index, 48, 0)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(patch(answer, 32, 1<<46), patch(header, 16, 1<<46)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(patch(header, 32, 1<<60), patch(header, 40, 1<<63), patch(data, 0, 5)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(patch(cursors, 512, 1), patch(cursors, 1064, 77|1<<63)), uint16(64), uint8(3), []byte{})
	// The alterations that follow the first frames count the areas from the header on.
	handover := slices.Concat(patch(1, 2048, 1), patch(1, 2192, 40), patch(2, 24, 0x810000), patch(2, 56, 0x810000))
	f.Add(patch(answer, 24, 5|2<<40|1<<48), uint16(64), uint8(8), handover)
	f.Add(patch(answer, 24, 5|2<<40|1<<48), uint16(64), uint8(13), handover)
	f.Add([]byte{}, uint16(64), uint8(3), slices.Concat(patch(1, 256, 1<<33), patch(1, 128, 1<<40)))
	f.Add([]byte{}, uint16(64), uint8(8), slices.Concat(patch(1, 1064, 0), patch(1, 512, 1)))

	// Pools: of 400 buffers, their figures wrong, and entries that lie beyond it or go on behind its last buffer.
	pool := slices.Concat(patch(header, 152, fuzzedData), patch(header, 160, 2112<<32|400), patch(header, 168, 2048<<32|64))
	f.Add(pool, uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(header, 160, 2112<<32|1<<31)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(header, 160, 1<<63|1)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(header, 168, 1<<63|8)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(header, 152, 0)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(header, 152, 1<<34)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(index, 16, 1<<63|9000)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(index, 16, (399*2112+52)/4<<32|0xffffffff)), uint16(64), uint8(3), []byte{})
	f.Add(slices.Concat(pool, patch(index, 16, (399*2112+52)/4<<32|0xffffffff)), uint16(64), uint8(8), []byte{})
	f.Add(slices.Concat(pool, patch(index, 16, (fuzzedData-2060)/4<<32|0xffffffff)), uint16(64), uint8(13), []byte{})
	f.Add(slices.Concat(pool, patch(answer, 24, 5|2<<40|1<<48)), uint16(64), uint8(8), slices.Concat(handover, patch(2, 16, (399*2112+52)/4<<32|0xffffffff)))
	f.Add(slices.Concat(pool, patch(cursors, 8, 1<<40), patch(cursors, 0, 1<<50)), uint16(64), uint8(3), []byte{})

	dir := f.TempDir()
	path := filepath.Join(dir, "eth7-queue0.sock")
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	require.NoError(f, err)
	f.Cleanup(func() { l.Close() })
	variables := []string{"PCAP_POLICY=lossy", "PCAP_POLICY=lossless", "PCAP_COPY=1"}
	readers := make([]*driver, len(variables))
	sanitized(f) // for all workers
	f.Fuzz(func(t *testing.T, patches []byte, answerBytes uint16, how uint8, later []byte) {
		i := int(how) / 5 % len(readers)
		if readers[i] == nil {
			readers[i] = startUnlimited(t, "HOME="+dir, variables[i])
		}
		d := readers[i]
		defer func() {
			if t.Failed() { // the next input has a new one
				_ = d.cmd.Process.Kill()
				readers[i] = nil
				t.Log(d.cmd.Wait(), d.err)
			}
		}()
		activated, read := sound(40).altered(patches, int(answerBytes)).read(t, d, l, int(how%5), later)
		if len(patches) == 0 && answerBytes == 64 && how%5 == 3 {
			require.Equal(t, "0", activated, "the capture that is altered is one")
			require.True(t, strings.HasPrefix(read, "40 40 2400 "), read)
		}
	})
}

// A capture whose header is wrong is refused with the reason.
func TestDamagedHeadersAreRefusedWithAReason(t *testing.T) {
	const answer, header = 0, 1
	dir := t.TempDir()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, "eth7-queue0.sock"), Net: "unixpacket"})
	require.NoError(t, err)
	defer l.Close()
	d := sanitized(t).start(t, "HOME="+dir)
	pool := slices.Concat(patch(header, 152, fuzzedData), patch(header, 160, 2112<<32|400), patch(header, 168, 2048<<32|64))
	const version, damaged, noRoom = "another version of the stream's layout", "header is damaged", "no room for the records or buffers"
	for name, c := range map[string]struct {
		patches []byte
		want    string
	}{
		"as it should be":           {nil, ""},
		"a pool":                    {pool, ""},
		"answer of version 3":       {patch(answer, 8, 3), version},
		"header of version 3":       {patch(header, 8, 4096<<32|3), damaged},
		"more data than mapped":     {patch(header, 16, 2*fuzzedData), noRoom},
		"buffers without a pool":    {slices.Concat(pool, patch(header, 152, 0)), noRoom},
		"a pool without buffers":    {slices.Concat(pool, patch(header, 160, 2112<<32)), noRoom},
		"too many buffers":          {slices.Concat(pool, patch(header, 160, 2112<<32|497)), noRoom},
		"a stride of 0":             {slices.Concat(pool, patch(header, 160, 400)), noRoom},
		"an odd stride":             {slices.Concat(pool, patch(header, 160, 2113<<32|400)), noRoom},
		"the longest stride":        {slices.Concat(pool, patch(header, 160, 0xfffffffc<<32|0xffffffff)), noRoom},
		"no room for a header":      {slices.Concat(pool, patch(header, 168, 2048<<32|8)), noRoom},
		"an odd headroom":           {slices.Concat(pool, patch(header, 168, 2040<<32|66)), noRoom},
		"buffers without bytes":     {slices.Concat(pool, patch(header, 168, 64)), noRoom},
		"longer than the stride":    {slices.Concat(pool, patch(header, 168, 2049<<32|64)), noRoom},
		"the longest buffers":       {slices.Concat(pool, patch(header, 168, 0xffffffff<<32|0xfffffffc)), noRoom},
		"a pool larger than mapped": {slices.Concat(pool, patch(header, 152, 2*fuzzedData)), noRoom},
	} {
		t.Run(name, func(t *testing.T) {
			activated, _ := sound(40).altered(c.patches, 64).read(t, d, l, 3, nil)
			if c.want == "" {
				require.Equal(t, "0", activated)
			} else {
				require.Contains(t, activated, c.want)
			}
		})
	}
	d.end()
}
