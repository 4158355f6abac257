package pcapfile_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
)

var formats = []pcapfile.Format{pcapfile.Pcap, pcapfile.Pcapng}

// origin is the stamp of the first test packet, in ns.
const origin = 1_700_000_000_123_456_789

// some returns n packets at intervals of 1 us, and sometimes 1 s.
func some(n int) []pcapfile.Packet {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	all := make([]pcapfile.Packet, n)
	nano := int64(origin)
	for i := range all {
		data := make([]byte, 60+r.IntN(1455))
		for j := range data {
			data[j] = byte(j>>4*j>>4) + byte(i) // it compresses
		}
		all[i] = pcapfile.Packet{Nano: nano, Len: uint32(len(data)), Data: data}
		switch {
		case i%7 == 0:
			all[i].Len += 100 // cut
		case i%50 == 1:
			nano += 1_000_000_000
		}
		nano += 1000
	}
	return all
}

// sizes returns packets of every kind of length.
func sizes() []pcapfile.Packet {
	var all []pcapfile.Packet
	for i, n := range []int{0, 1, 2, 3, 4, 5, 60, 1514, 9000, 65535} {
		all = append(all, pcapfile.Packet{Nano: origin + int64(i), Len: uint32(max(n, 1)), Data: bytes.Repeat([]byte{byte(n)}, n)})
	}
	return append(all, pcapfile.Packet{Nano: 4294967295999999999, Len: 65535, Data: []byte("cut short")})
}

// write makes a file of packets, with a frame for each perFrame if it is
// compressed.
func write(tb testing.TB, e pcapfile.Encoder, level, perFrame int, packets []pcapfile.Packet, s *pcapfile.Statistics) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := pcapfile.NewWriter(&out, e, level)
	require.NoError(tb, err)
	for i := range packets {
		if perFrame != 0 && i != 0 && i%perFrame == 0 {
			require.NoError(tb, w.Flush())
		}
		require.NoError(tb, w.Write(&packets[i]))
	}
	var all []pcapfile.Statistics
	if s != nil {
		all = append(all, *s)
	}
	require.NoError(tb, w.Close(all...))
	return out.Bytes()
}

// drain reads to the end.
func drain(r *pcapfile.Reader) ([]pcapfile.Packet, error) {
	var all []pcapfile.Packet
	for {
		p, err := r.Next()
		if err != nil {
			return all, err
		}
		p.Data = append([]byte{}, p.Data...)
		all = append(all, p)
	}
}

func readAll(tb testing.TB, file []byte) []pcapfile.Packet {
	tb.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	require.NoError(tb, err)
	all, err := drain(r)
	require.Equal(tb, io.EOF, err)
	return all
}

func save(tb testing.TB, name string, file []byte) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	require.NoError(tb, os.WriteFile(path, file, 0o600))
	return path
}

// memory makes a file in memory, for tests that write thousands.
func memory(tb testing.TB, file []byte) (path string) {
	tb.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	require.NoError(tb, err)
	f := os.NewFile(uintptr(fd), "test")
	tb.Cleanup(func() { f.Close() })
	path = fmt.Sprintf("/proc/self/fd/%d", fd)
	replace(tb, path, file)
	return path
}

func replace(tb testing.TB, path string, file []byte) {
	tb.Helper()
	require.NoError(tb, os.WriteFile(path, file, 0o600))
}

// run runs a program and returns what it prints.
func run(tb testing.TB, name string, args ...string) string {
	tb.Helper()
	out, err := try(tb, name, args...)
	require.NoError(tb, err, "%s %v: %s", name, args, out)
	return out
}

func try(tb testing.TB, name string, args ...string) (string, error) {
	tb.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		tb.Skipf("%s is missing; make tools installs it", name)
	}
	var out, complaints bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err = cmd.Run(); err != nil {
		out.Write(complaints.Bytes())
	}
	return out.String(), err
}

// field returns what capinfos prints after "name:" or "name =".
func field(tb testing.TB, text, name string) string {
	tb.Helper()
	for line := range strings.Lines(text) {
		for _, sign := range []string{":", "="} {
			if key, value, found := strings.Cut(line, sign); found && strings.TrimSpace(key) == name {
				return strings.TrimSpace(value)
			}
		}
	}
	require.Fail(tb, "not printed", "%s in %s", name, text)
	return ""
}

var described = pcapfile.Interface{
	Name: "eth2", Description: "queue 3", Filter: "tcp port 80", Speed: 10_000_000_000, Snaplen: 1600, OS: "Linux 6.1", Comment: "a comment of the file",
}

var statistics = pcapfile.Statistics{
	Start: time.Unix(0, origin), End: time.Unix(0, origin+5_000_000_007), Port: true,
	Received: 1000, Dropped: 17, Accepted: 900, OSDropped: 3, Delivered: 890,
}
