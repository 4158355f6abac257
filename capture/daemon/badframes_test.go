package daemon_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/daemon"
	"github.com/ixcap/ixcap/capture/daemon/settings"
)

// badMix are frames with their CRC: good ones, wrong CRCs, runts.
func badMix() (frames [][]byte) {
	for _, f := range []struct {
		size  int
		wrong uint32
	}{{60, 0}, {100, 1}, {1514, 0}, {30, 0}, {40, 1}, {600, 0}, {9000, 7}} {
		b := make([]byte, f.size)
		for i := range b {
			b[i] = byte(i * f.size)
		}
		copy(b, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5")
		frames = append(frames, binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)^f.wrong))
	}
	return frames
}

// mixFile writes frames that end in their CRC to a pcap.
func mixFile(t *testing.T, frames [][]byte) string {
	t.Helper()
	e := pcapfile.Encoder{Format: pcapfile.Pcap, Interface: pcapfile.Interface{CRC: true}}
	b := e.Header(nil)
	for i, f := range frames {
		b = e.Packet(b, &pcapfile.Packet{Nano: int64(i), Len: uint32(len(f)), Data: f})
	}
	name := filepath.Join(t.TempDir(), "mix.pcap")
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name
}

// packetsWithCRC reads a file with its CRCs.
func packetsWithCRC(t *testing.T, name string) (all [][]byte) {
	t.Helper()
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	r, err := capfile.NewReader(f, capfile.Options{KeepFCS: true})
	require.NoError(t, err)
	defer r.Close()
	for {
		p, err := r.Next()
		if err != nil {
			return all
		}
		require.Equal(t, 4, p.FCS)
		all = append(all, append([]byte(nil), p.Data...))
	}
}

// A capture of bad frames has every frame of the wire with its CRC, and the file, replayed,
// makes the same frames again.
func TestBadFramesAreCapturedAndReplayed(t *testing.T) {
	frames := badMix()
	source := mixFile(t, frames)
	for round, format := range []string{"pcapng", "pcap"} {
		dir := t.TempDir()
		r := open(t, parse(t, fmt.Sprintf(`
[port.a]
device = "sim:pcap=%s,fcs=file,backpressure"
buffer = "8MiB"
bad_frames = true
storage.dirs = %q
storage.format = %q
`, source, dir, format)), daemon.Config{})
		require.NoError(t, r.Run(t.Context()))
		l := r.Ledgers()[0].Ledger
		require.NoError(t, l.Balanced())
		require.EqualValues(t, len(frames), l.Account.Wire)
		require.EqualValues(t, len(frames), l.Account.Received)
		require.Empty(t, l.Account.Bad)
		counts := map[string]uint64{}
		for _, c := range l.Account.BadReceived {
			counts[c.Cause] = c.Frames
		}
		require.Equal(t, map[string]uint64{"CRCERRS": 2, "RUC": 1, "RFC": 1, "RJC": 0, "ROC": 0, "RLEC": 0, "ERRBC": 0, "ILLERRC": 0}, counts)
		written := files(t, dir, "*."+format)
		require.Len(t, written, 1)
		require.Equal(t, frames, packetsWithCRC(t, written[0]), "round %d", round)
		source = written[0]
		if format == "pcapng" {
			tsharkSeesTheErrors(t, source)
		}
	}
}

func tsharkSeesTheErrors(t *testing.T, name string) {
	t.Helper()
	tool, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is missing: apt-get install tshark")
	}
	out, err := exec.Command(tool, "-r", name, "-T", "fields", "-o", "eth.check_fcs:TRUE",
		"-e", "frame.packet_flags_crc_error", "-e", "frame.packet_flags_packet_too_short_error", "-e", "frame.packet_flags_fcs_length", "-e", "eth.fcs.status").Output()
	require.NoError(t, err)
	// Good frames have no flags, as their interface has the length of the CRC.
	want := []string{"\t\t\t1", "1\t0\t4\t0", "\t\t\t1", "0\t1\t4\t1", "1\t1\t4\t0", "\t\t\t1", "1\t0\t4\t0"}
	require.Equal(t, want, strings.Split(strings.TrimRight(strings.NewReplacer("True", "1", "False", "0").Replace(string(out)), "\n"), "\n"))
}

func TestDuplicatesWithDifferencesNeedFramesWithoutCRC(t *testing.T) {
	_, err := settings.Parse("f", `
[port.a]
device = "sim:gen"
crc = true
dedup = "ignore=ttl"
storage.dirs = "null"
`)
	require.ErrorContains(t, err, "copies that differ have different CRCs")
}
