package flow

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/sim/wire"
)

const peerPackets = 3_000_000

// writeMix writes a capture file of a backbone link.
func writeMix(b *testing.B, name string) {
	m := newMixed(b, wire.MixConfig{Flows: 1_000_000, Rate: 1.65e6, Seed: 1, Count: peerPackets}, loadPackets)
	f, err := os.Create(name)
	require.NoError(b, err)
	buffer := bufio.NewWriterSize(f, 1<<20)
	w := pcapgo.NewWriter(buffer)
	require.NoError(b, w.WriteFileHeader(loadFrame, layers.LinkTypeEthernet))
	for m.fill(); len(m.packets) > 0; m.fill() {
		for _, p := range m.packets {
			info := gopacket.CaptureInfo{Timestamp: p.Time(), CaptureLength: len(p.Data), Length: int(p.Len)}
			require.NoError(b, w.WritePacket(info, p.Data))
		}
	}
	require.NoError(b, buffer.Flush())
	require.NoError(b, f.Close())
}

// readMix computes the flows of the file.
func readMix(b *testing.B, e *Engine, name string) {
	const fileHeader, recordHeader = 24, 16
	f, err := os.Open(name)
	require.NoError(b, err)
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<20)
	_, err = r.Discard(fileHeader)
	require.NoError(b, err)
	batch, memory := make([]stream.Packet, 0, readBatch), make([]byte, readBatch*loadFrame)
	var h [recordHeader]byte
	for le := binary.LittleEndian; ; {
		_, err := io.ReadFull(r, h[:])
		if err == io.EOF || len(batch) == cap(batch) {
			e.Process(batch)
			batch = batch[:0]
		}
		if err == io.EOF {
			break
		}
		data := memory[len(batch)*loadFrame:][:le.Uint32(h[8:])]
		_, err = io.ReadFull(r, data)
		require.NoError(b, err)
		batch = append(batch, stream.Packet{Sec: le.Uint32(h[:]), Nsec: 1000 * le.Uint32(h[4:]), Len: uint16(le.Uint32(h[12:])), Data: data})
	}
	e.Flush()
	require.NoError(b, e.Stats().Balanced())
	require.EqualValues(b, peerPackets, e.Stats().Frames)
}

// BenchmarkPeers computes the flows of one file with other programs and with the engine: time
// of the processor for a packet, reading the file and ending all flows included, the
// allocation of the engine's memory not. Run it with -benchtime 1x.
func BenchmarkPeers(b *testing.B) {
	name := filepath.Join(b.TempDir(), "mix.pcap")
	peers := [][]string{
		{"softflowd", "-d", "-m", "3000000", "-r", name},
		{"nfpcapd", "-r", name, "-w", b.TempDir(), "-l", b.TempDir()},
	}
	for _, p := range peers {
		if _, err := exec.LookPath(p[0]); err != nil {
			b.Skipf("%s is not installed: make pcaptest says how", p[0])
		}
	}
	writeMix(b, name)
	for _, p := range peers {
		var said bytes.Buffer
		cmd := exec.Command(p[0], p[1:]...)
		cmd.Stdout, cmd.Stderr = &said, &said
		require.NoError(b, cmd.Run(), "%s", &said)
		spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		b.ReportMetric(float64(spent)/peerPackets, p[0]+"-cpu-ns/packet")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e := benchEngine(b, 1_500_000)
	start := processor()
	readMix(b, e, name)
	b.ReportMetric(float64(processor()-start)/peerPackets, "cpu-ns/packet")
	b.ReportMetric(0, "ns/op")
}
