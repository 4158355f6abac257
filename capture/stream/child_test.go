package stream

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/hugepage"
)

// Tests that need other processes run this binary again. childEnv holds a name of
// children, a socket, and further arguments.
const childEnv = "IXCAP_STREAM_TEST_CHILD"

func TestMain(m *testing.M) {
	if what := strings.Fields(os.Getenv(childEnv)); len(what) > 0 {
		if err := children[what[0]](what[1], what[2:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// children are the client processes. Each prints "ready" once it is attached, and its
// result at the end.
var children = map[string]func(path string, args []string) error{
	"read": childRead, "corrupt": childCorruptCursor, "write": childWriteMemory, "serve": childServe, "starve": childStarve,
}

// childResult is what a reading child found.
type childResult struct {
	Frames    uint64 // read
	Unordered uint64 // out of order, or not intact
	Gaps      uint64 // frames missing between two that were read
	Overrun   int    // times that reading returned ErrOverrun
	End       string // what ended reading
	Stats     ListenerStats
}

// childRead reads to the end: read PATH POLICY DETACHAFTER
func childRead(path string, args []string) error {
	o := Options{}
	if args[0] == "lossy" {
		o.Policy = Lossy
	}
	if len(args) > 1 {
		o.DetachAfter, _ = time.ParseDuration(args[1])
	}
	l, err := Attach(path, "child", o)
	if err != nil {
		return err
	}
	r := childResult{}
	packets, next, first := make([]Packet, 64), uint32(0), true
	for {
		n, err := l.ReadBatch(context.Background(), packets)
		if errors.Is(err, ErrOverrun) {
			r.Overrun++
			continue
		}
		if err != nil {
			r.End = err.Error()
			break
		}
		if first {
			fmt.Println("ready")
		}
		for _, pkt := range packets[:n] {
			if !first {
				if pkt.Nsec < next || !intact(pkt.Data, pkt.Nsec) {
					r.Unordered++
				} else {
					r.Gaps += uint64(pkt.Nsec - next)
				}
			}
			next, first = pkt.Nsec+1, false
		}
		r.Frames += uint64(n)
	}
	r.Stats = l.Stats()
	if err := l.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// childCorruptCursor writes random words to its cursor page until it is detached.
func childCorruptCursor(path string, _ []string) error {
	l, err := Attach(path, "child", Options{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for l.checkAttached() == nil {
		binary.LittleEndian.PutUint64(l.cursorMap.mem[r.IntN(32)*8:], r.Uint64()>>r.IntN(64))
		clear(l.cursorMap.mem[r.IntN(pageBytes):])
	}
	fmt.Println(l.checkAttached())
	return l.Close()
}

// childWriteMemory tries to change a stream's memories in every way, and prints the
// ways that worked.
func childWriteMemory(path string, _ []string) error {
	c, err := net.Dial("unixpacket", path)
	if err != nil {
		return err
	}
	if _, err := c.Write(encodeRequest("child", Options{Policy: Lossy})); err != nil {
		return err
	}
	a, fds, err := receiveAnswer(c.(*net.UnixConn))
	if err != nil || len(fds) != 3 {
		return fmt.Errorf("%d descriptors, %v %s", len(fds), err, a.text)
	}
	fmt.Println("ready")
	again := func(fd, flags int) int {
		n, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), flags|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1 // no valid descriptor
		}
		return n
	}
	var worked []string
	try := func(what string, err error) {
		if err == nil {
			worked = append(worked, what)
		}
	}
	for i, name := range []string{"data", "control"} {
		for how, fd := range map[string]int{"as received": fds[i], "reopened": again(fds[i], unix.O_RDWR), "truncated": again(fds[i], unix.O_RDWR|unix.O_TRUNC)} {
			name := name + " " + how + ": "
			for _, prot := range []int{unix.PROT_WRITE, unix.PROT_READ | unix.PROT_WRITE} {
				_, err := unix.Mmap(fd, 0, pageBytes, prot, unix.MAP_SHARED)
				try(name+"map writable", err)
			}
			_, err := unix.Pwrite(fd, []byte{1, 2, 3}, 0)
			try(name+"write", err)
			try(name+"shrink", unix.Ftruncate(fd, 0))
			try(name+"grow", unix.Ftruncate(fd, 1<<30))
			for _, mode := range []uint32{unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_COLLAPSE_RANGE} {
				try(fmt.Sprint(name, "fallocate ", mode), unix.Fallocate(fd, mode, 0, pageBytes))
			}
			for _, seals := range []int{unix.F_SEAL_WRITE, unix.F_SEAL_SEAL, unix.F_SEAL_EXEC} {
				_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
				try(fmt.Sprint(name, "seal ", seals), err)
			}
		}
		m, err := unix.Mmap(fds[i], 0, pageBytes, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		try(name+": mprotect", unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE))
		try(name+": remove pages", unix.Madvise(m, unix.MADV_REMOVE))
	}
	for how, fd := range map[string]int{"as received": fds[2], "reopened": again(fds[2], unix.O_RDWR), "truncated": again(fds[2], unix.O_RDWR|unix.O_TRUNC)} {
		name := "cursor " + how + ": "
		try(name+"shrink", unix.Ftruncate(fd, 0))
		try(name+"grow", unix.Ftruncate(fd, 1<<20))
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
		try(name+"seal", err)
	}
	// O_TRUNC on a sealed memory may be allowed where it does nothing.
	fmt.Println(strings.Join(slices.Compact(worked), "; "))
	return c.Close()
}

// childServe is a capture that stores frames and never finishes; the test kills it.
func childServe(path string, _ []string) error {
	s, err := New(Config{Interface: "child", Size: Block, Node: hugepage.AnyNode})
	if err != nil {
		return err
	}
	if _, err := s.Serve(ServerConfig{Path: path}); err != nil {
		return err
	}
	fmt.Println("ready")
	p := s.Producer()
	for len(s.Stats().Listeners) < 2 {
		time.Sleep(time.Millisecond)
	}
	for n := range uint32(100) {
		p.Append(1, n, numbered(n, 100), 0)
	}
	p.Publish()
	fmt.Println("stored")
	select {}
}

// childStarve is a capture without a free descriptor when a client attaches. It frees
// some once the server has reported the error.
func childStarve(path string, _ []string) error {
	s, err := New(Config{Interface: "child", Size: Block, Node: hugepage.AnyNode})
	if err != nil {
		return err
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 100}); err != nil {
		return err
	}
	failed := make(chan Event, 100)
	_, err = s.Serve(ServerConfig{Path: path, OnEvent: func(e Event) {
		if e.Kind == EventError {
			failed <- e
		}
	}})
	if err != nil {
		return err
	}
	var held []int
	for {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EMFILE) {
			break
		}
		if err != nil {
			return err
		}
		held = append(held, fd)
	}
	fmt.Println("ready")
	e := <-failed
	closeAll(held)
	for s.Stats().DetachedTotal == 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println(e)
	return s.Close()
}

// child is a running child.
type child struct {
	cmd   *exec.Cmd
	lines chan string
}

// spawn runs a child and waits until it is ready.
func spawn(tb testing.TB, what ...string) *child {
	tb.Helper()
	exe, err := os.Executable()
	require.NoError(tb, err)
	c := &child{cmd: exec.Command(exe), lines: make(chan string, 100)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(what, " "))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, c.cmd.Start())
	go func() {
		defer close(c.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	tb.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		for range c.lines {
		}
		_ = c.cmd.Wait()
	})
	return c
}

// line returns the next line that the child prints; "" at its end.
func (c *child) line(tb testing.TB) string {
	tb.Helper()
	select {
	case s := <-c.lines:
		return s
	case <-time.After(timeout):
		require.Fail(tb, "the child prints nothing")
		return ""
	}
}

// printed returns the next line of the child if there is one, without waiting.
func (c *child) printed() (string, bool) {
	select {
	case s, ok := <-c.lines:
		return s, ok
	default:
		return "", false
	}
}

// result returns a reading child's result.
func (c *child) result(tb testing.TB) (r childResult) {
	tb.Helper()
	for s := c.line(tb); s != ""; s = c.line(tb) {
		if strings.HasPrefix(s, "{") {
			require.NoError(tb, json.Unmarshal([]byte(s), &r))
			return r
		}
		require.Equal(tb, "ready", s)
	}
	require.Fail(tb, "the child ended without a result")
	return r
}

// readAll reads a lossless listener to the end and fails the test if a frame differs
// from what was stored. next is the first frame expected.
func readAll(tb testing.TB, l *Listener, next uint32) uint32 {
	packets := make([]Packet, 64)
	for {
		n, err := l.ReadBatch(testContext(tb), packets)
		if errors.Is(err, io.EOF) {
			return next
		}
		if err != nil {
			tb.Errorf("after frame %d: %v", next, err)
			return next
		}
		for _, pkt := range packets[:n] {
			if pkt.Nsec != next || !intact(pkt.Data, next) {
				tb.Errorf("frame %d where %d was next", pkt.Nsec, next)
				return next
			}
			next++
		}
	}
}
