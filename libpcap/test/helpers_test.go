// Package test drives the libpcap front from outside: it builds the library with make, and runs
// programs that are linked against the system's libpcap over it.
//
//	frames ─► stream ─► socket, shared memory ─► libpcap.so.0.8 of ../build ─► drive, tcpdump ─► test
package test

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/capturetest"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/ring"
	"github.com/ixcap/ixcap/sim/wire"
)

const timeout = 60 * time.Second

// scratch has what the tests build; it is made by the first that needs it.
var scratch string

func TestMain(m *testing.M) {
	code := m.Run()
	if scratch != "" {
		_ = os.RemoveAll(scratch)
	}
	os.Exit(code)
}

// needs skips the test where tools or files are missing.
func needs(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing; `make tools` installs it", tool)
		}
	}
	if _, err := os.Stat("/usr/include/pcap/pcap.h"); err != nil {
		t.Skip("libpcap's headers are missing; `make tools` installs them")
	}
}

// built is the library and the program that drives it, made with the flags.
type built struct{ dir, drive string }

var builds = struct {
	sync.Mutex
	of map[string]built
}{of: map[string]built{}}

// build returns the library as users build it, and drive.
func build(t testing.TB) built { return buildWith(t, "plain", "CFLAGS=-O2 -g") }

// sanitized is build with the sanitizers for addresses and undefined behaviour. The worker
// processes of a fuzz test use what their parent has built.
func sanitized(t testing.TB) built {
	const variable = "IXCAP_TEST_SANITIZED"
	if dir := os.Getenv(variable); dir != "" {
		return built{dir: dir, drive: filepath.Join(dir, "drive")}
	}
	b := buildWith(t, "sanitized", "CFLAGS=-O1 -g", "SANITIZE=1")
	require.NoError(t, os.Setenv(variable, b.dir))
	return b
}

func buildWith(t testing.TB, name string, flags ...string) built {
	t.Helper()
	needs(t, "gcc", "make")
	builds.Lock()
	defer builds.Unlock()
	if b, ok := builds.of[name]; ok {
		return b
	}
	if scratch == "" {
		dir, err := os.MkdirTemp("", "front")
		require.NoError(t, err)
		scratch = dir
	}
	dir := filepath.Join(scratch, name)
	b := built{dir: dir, drive: filepath.Join(dir, "drive")}
	out, err := exec.Command("make", append([]string{"-C", "..", "BUILD=" + dir}, flags...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	compile(t, b.drive, "testdata/drive.c", name == "sanitized")
	builds.of[name] = b
	return b
}

// compile makes a program that is linked against the system's libpcap.
func compile(t testing.TB, exe, source string, sanitize bool) {
	t.Helper()
	args := []string{"-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-o", exe, source, "-lpcap", "-lpthread"}
	if sanitize {
		args = append(args, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
	}
	out, err := exec.Command("gcc", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// environment is that of a program over the front.
func (b built) environment(more ...string) []string {
	return append(append(os.Environ(), "LD_LIBRARY_PATH="+b.dir, "ASAN_OPTIONS=abort_on_error=0:exitcode=99", "LSAN_OPTIONS=exitcode=98"), more...)
}

// driver is a running drive.
type driver struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err *strings.Builder
}

// start runs drive over the library, with more variables in its environment.
func (b built) start(t testing.TB, variables ...string) *driver {
	t.Helper()
	return startDriver(t, exec.Command(b.drive), b.environment(variables...))
}

func startDriver(t testing.TB, cmd *exec.Cmd, environment []string) *driver {
	t.Helper()
	d := &driver{t: t, cmd: cmd, err: &strings.Builder{}}
	d.cmd.Env, d.cmd.Stderr = environment, d.err
	var err error
	d.in, err = d.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := d.cmd.StdoutPipe()
	require.NoError(t, err)
	d.out = bufio.NewReader(out)
	require.NoError(t, d.cmd.Start())
	limit := time.AfterFunc(timeout, func() { _ = d.cmd.Process.Kill() })
	t.Cleanup(func() { limit.Stop(); _ = d.cmd.Process.Kill(); _ = d.cmd.Wait() })
	return d
}

// send writes a line; receive reads the answer to the first that was not answered.
func (d *driver) send(format string, args ...any) {
	d.t.Helper()
	_, err := fmt.Fprintf(d.in, format+"\n", args...)
	require.NoError(d.t, err, "%s", d.err)
}

func (d *driver) receive() string {
	d.t.Helper()
	line, err := d.out.ReadString('\n')
	require.NoError(d.t, err, "%s", d.err)
	return strings.TrimSuffix(line, "\n")
}

func (d *driver) do(format string, args ...any) string {
	d.t.Helper()
	d.send(format, args...)
	return d.receive()
}

// open creates and activates a handle for the socket or device.
func (d *driver) open(device string, setters ...string) {
	d.t.Helper()
	require.Equal(d.t, "ok", d.do("create 0 %s", device))
	for _, s := range setters {
		require.Equal(d.t, "0", d.do("%s", s), s)
	}
	require.Equal(d.t, "0", d.do("activate 0"))
}

// stats returns what pcap_stats says.
func (d *driver) stats() (recv, drop, ifdrop int) {
	d.t.Helper()
	var code int
	n, err := fmt.Sscan(d.do("stats 0"), &code, &recv, &drop, &ifdrop)
	require.NoError(d.t, err)
	require.Equal(d.t, 4, n)
	return recv, drop, ifdrop
}

// end lets the program exit, which must find no error of memory.
func (d *driver) end() {
	d.t.Helper()
	require.NoError(d.t, d.in.Close())
	require.NoError(d.t, d.cmd.Wait(), "%s", d.err)
}

// packet is a frame as the front must deliver it.
type packet struct {
	sec, nsec uint32
	len       int
	data      []byte
}

// result is the answer of drive that delivered the packets.
func result(code int, packets []packet, nano bool) string {
	h := fnv.New64a()
	bytes := 0
	for _, p := range packets {
		frac := p.nsec
		if !nano {
			frac /= 1000
		}
		var w [16]byte
		binary.LittleEndian.PutUint32(w[0:], p.sec)
		binary.LittleEndian.PutUint32(w[4:], frac)
		binary.LittleEndian.PutUint32(w[8:], uint32(len(p.data)))
		binary.LittleEndian.PutUint32(w[12:], uint32(p.len))
		h.Write(w[:])
		h.Write(p.data)
		bytes += len(p.data)
	}
	return fmt.Sprintf("%d %d %d %016x", code, len(packets), bytes, h.Sum64())
}

// cut returns the packets with at most n bytes.
func cut(packets []packet, n int) []packet {
	out := make([]packet, len(packets))
	for i, p := range packets {
		p.data = p.data[:min(n, len(p.data))]
		out[i] = p
	}
	return out
}

// served is a stream of generated frames, with what was stored in it.
type served struct {
	*stream.Stream
	t       testing.TB
	path    string
	gen     *wire.Generator
	packets []packet
	pool    *capturetest.Pool // nil: the stream copies
}

// serve makes a stream and serves it at a socket in dir, which is the port's named.
func serve(t testing.TB, dir, name string, c stream.Config) *served {
	t.Helper()
	gen, err := wire.NewGenerator([]wire.Option{{Key: "size", Value: "imix"}, {Key: "flows", Value: "100"}})
	require.NoError(t, err)
	c.Interface, c.Node = cmp.Or(c.Interface, "eth7"), hugepage.AnyNode
	if c.Size == 0 {
		c.Size = 16 * stream.Block
	}
	s, err := stream.New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	path := filepath.Join(dir, name)
	_, err = s.Serve(stream.ServerConfig{Path: path})
	require.NoError(t, err)
	return &served{Stream: s, t: t, path: path, gen: gen}
}

// single serves one queue.
func single(t testing.TB, c stream.Config) *served {
	t.Helper()
	return serve(t, t.TempDir(), "eth7-queue0.sock", c)
}

// servePool is serve with frames that lie in a pool of about four times c.Size, long ones in
// several buffers.
func servePool(t testing.TB, dir, name string, c stream.Config) *served {
	t.Helper()
	pool := capturetest.NewPool(t, cmp.Or(c.Size, 16*stream.Block)/(8<<10))
	c.Pool = &pool.Pool
	s := serve(t, dir, name, c)
	s.pool = pool
	var err error
	s.gen, err = wire.NewGenerator([]wire.Option{{Key: "size", Value: "60-5000"}, {Key: "flows", Value: "100"}})
	require.NoError(t, err)
	return s
}

// memories are streams of both kinds.
var memories = map[string]func(t testing.TB, dir, name string, c stream.Config) *served{"copied": serve, "in a pool": servePool}

// each runs a test for a queue of each kind.
func each(t *testing.T, test func(t *testing.T, single func(c stream.Config) *served)) {
	for name, serve := range memories {
		t.Run(name, func(t *testing.T) {
			test(t, func(c stream.Config) *served { return serve(t, t.TempDir(), "eth7-queue0.sock", c) })
		})
	}
}

// attached waits for n listeners.
func (s *served) attached(n int) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return len(s.Stats().Listeners) == n }, timeout, time.Millisecond)
}

// store stores generated frames, and waits where a lossless listener holds it.
func (s *served) store(frames int) {
	s.t.Helper()
	for range frames {
		n := uint32(len(s.packets))
		b := s.gen.Append(nil, uint64(n))
		s.put(packet{sec: 1700000000 + n/1e6, nsec: n % 1e6 * 1000, len: len(b), data: b}, ring.Frame{Data: b, Len: uint32(len(b))})
	}
	s.Producer().Publish()
}

// put appends a frame, which listeners see as the packet. It does not publish it.
func (s *served) put(p packet, f ring.Frame) {
	s.t.Helper()
	for since := time.Now(); !s.append(p.sec, p.nsec, &f); time.Sleep(10 * time.Microsecond) {
		s.Producer().Publish()
		require.Less(s.t, time.Since(since), timeout, "held")
	}
	s.packets = append(s.packets, p)
}

func (s *served) append(sec, nsec uint32, f *ring.Frame) bool {
	if s.pool != nil {
		return s.pool.Append(s.Producer(), sec, nsec, f, 0)
	}
	return s.Producer().Append(sec, nsec, f, 0)
}

// number is the i-th field of an answer.
func number(t testing.TB, line string, i int) int {
	t.Helper()
	fields := strings.Fields(line)
	require.Greater(t, len(fields), i, line)
	n, err := strconv.Atoi(fields[i])
	require.NoError(t, err, line)
	return n
}
