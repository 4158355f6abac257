package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
	"github.com/ixcap/ixcap/sim/wire"
)

// runAsClient is the environment variable that makes this test binary a client of
// another process's stream. Its value is a client as JSON.
const runAsClient = "IXCAP_E2E_CLIENT"

// client describes a listener in this process or in a client process.
type client struct {
	Socket  string // of a client process
	Name    string
	Options stream.Options
	Bytes   bool   // read blocks instead of packets
	PauseAt uint64 // wait for standard input after this many frames; 0: never
	Raw     string // misuse the descriptors instead of reading, see rawClient
}

// report describes what a client has read at the end.
type report struct {
	Frames  uint64               `json:"frames"`
	Digest  string               `json:"digest"` // of all records: stamp, lengths and bytes
	Account stream.ListenerStats `json:"account"`
}

func init() {
	text := os.Getenv(runAsClient)
	if text == "" {
		return
	}
	err := func() error {
		var spec client
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			return err
		}
		if spec.Raw != "" {
			return rawClient(spec)
		}
		l, err := stream.Attach(spec.Socket, spec.Name, spec.Options)
		if err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "attached")
		r, err := spec.read(l)
		if err != nil {
			return errors.Join(err, l.Close())
		}
		if err := l.Close(); err != nil {
			return err
		}
		r.Account = l.Stats()
		return json.NewEncoder(os.Stdout).Encode(r)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// read reads to the end of the stream. Frames of the generator must be in order.
func (spec client) read(l *stream.Listener) (r report, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*testtime.Deadline)
	defer cancel()
	d := digest{sum: sha256.New()}
	pause := func() {
		if spec.PauseAt != 0 && d.frames >= spec.PauseAt {
			fmt.Fprintln(os.Stderr, "paused")
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // a line or the end
			spec.PauseAt = 0
		}
	}
	if spec.Bytes {
		err = d.blocks(ctx, l, pause)
	} else {
		err = d.packets(ctx, l, pause)
	}
	if err != nil {
		return r, fmt.Errorf("%s after %d frames: %w", spec.Name, d.frames, err)
	}
	return report{Frames: d.frames, Digest: hex.EncodeToString(d.sum.Sum(nil))}, nil
}

// digest is a checksum of the records read so far.
type digest struct {
	sum    hash.Hash
	frames uint64
	next   uint64 // least number of the next frame
	rest   []byte // of blocks: the start of an incomplete record
}

// add adds a record.
func (d *digest) add(header [stream.RecordHeader]byte, data []byte) error {
	d.frames++
	_, _ = d.sum.Write(header[:])
	_, _ = d.sum.Write(data)
	seq, err := wire.Sequence(data)
	if err != nil {
		return err
	}
	if seq < d.next {
		return fmt.Errorf("frame %d of the wire after frame %d", seq, d.next-1)
	}
	d.next = seq + 1
	return nil
}

// header returns a record's header.
func header(sec, nsec uint32, caplen, length int) (h [stream.RecordHeader]byte) {
	binary.LittleEndian.PutUint32(h[0:], sec)
	binary.LittleEndian.PutUint32(h[4:], nsec)
	binary.LittleEndian.PutUint16(h[8:], uint16(caplen))
	binary.LittleEndian.PutUint16(h[10:], uint16(length))
	return h
}

// packets reads the stream packet by packet.
func (d *digest) packets(ctx context.Context, l *stream.Listener, pause func()) error {
	packets := make([]stream.Packet, 128)
	for {
		n, err := l.ReadBatch(ctx, packets)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range packets[:n] {
			p := &packets[i]
			if err := d.add(header(p.Sec, p.Nsec, len(p.Data), int(p.Len)), p.Data); err != nil {
				return err
			}
		}
		pause()
	}
}

// blocks reads the stream block by block, as a storer does.
func (d *digest) blocks(ctx context.Context, l *stream.Listener, pause func()) error {
	for {
		b, err := l.ReadBlock(ctx, 256<<10)
		if err == io.EOF {
			if len(d.rest) != 0 {
				return fmt.Errorf("%d bytes of a record at the end", len(d.rest))
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.records(b); err != nil {
			return err
		}
		if err := l.Consume(len(b)); err != nil {
			return err
		}
		pause()
	}
}

// records adds the records of a block, which may begin and end inside a record.
func (d *digest) records(b []byte) error {
	b = append(d.rest, b...)
	for len(b) >= stream.RecordHeader {
		h := [stream.RecordHeader]byte(b)
		size := stream.RecordHeader + int(binary.LittleEndian.Uint16(h[8:]))
		if len(b) < size {
			break
		}
		if binary.LittleEndian.Uint64(h[:]) != 0 { // no padding
			if err := d.add(h, b[stream.RecordHeader:size]); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	d.rest = append([]byte(nil), b...)
	return nil
}

// digestOf returns the report of a client that has read all records of RAW files.
func digestOf(t *testing.T, dir string) report {
	t.Helper()
	packets, _ := readRaw(t, dir)
	d := digest{sum: sha256.New()}
	for _, p := range packets {
		require.NoError(t, d.add(header(uint32(p.at.Unix()), uint32(p.at.Nanosecond()), len(p.data), p.len), p.data))
	}
	return report{Frames: d.frames, Digest: hex.EncodeToString(d.sum.Sum(nil))}
}

// startClient starts a client process and waits until it is attached.
func startClient(t *testing.T, spec client) *program {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := json.Marshal(spec)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 3*testtime.Deadline)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, self)
	c.Env = append(os.Environ(), runAsClient+"="+string(text))
	var in io.WriteCloser
	if spec.PauseAt != 0 || spec.Raw != "" {
		in, err = c.StdinPipe()
		require.NoError(t, err)
		t.Cleanup(func() { _ = in.Close() })
	}
	p := launch(t, c)
	p.stdin = in
	p.waitStderr("attached")
	return p
}

// waitReport waits until a client process exits and returns its report.
func waitReport(t *testing.T, p *program) (r report) {
	t.Helper()
	end := p.wait()
	require.Zero(t, end.status, end.stderr)
	require.NoError(t, json.Unmarshal([]byte(end.stdout), &r), end.stdout)
	return r
}

// eventually waits until a condition holds, at most for testtime.Deadline.
func eventually(t *testing.T, failure string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, testtime.Deadline, 2*time.Millisecond, failure)
}
