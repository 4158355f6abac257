package wire

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSinkWritesWhatWasSentWithItsTime(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is missing: apt-get install tcpdump")
	}
	name := filepath.Join(t.TempDir(), "sent.pcap")
	w, err := Parse([]Option{{Key: "sink", Value: name}})
	require.NoError(t, err)
	require.NoFileExists(t, name, "options may be checked only")
	require.True(t, w.Up())
	n, err := w.Receive(make([]Frame, 1), 1<<20)
	require.Zero(t, n)
	require.NoError(t, err)
	frame := append(bytes.Repeat([]byte{2}, 12), append([]byte{0x88, 0xb5}, make([]byte, 46)...)...)
	sender := w.(TimedSender)
	require.NoError(t, sender.SendAt(Frame{Data: frame, At: 1_700_000_000_123_456_789}))
	require.NoError(t, sender.SendAt(Frame{Data: frame, At: 1_700_000_000_123_456_800, Damage: BadCRC}))
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	out, err := exec.Command(tcpdump, "-r", name, "-tt", "-n", "-e", "--nano").Output()
	require.NoError(t, err)
	require.Equal(t, 1, bytes.Count(out, []byte("1700000000.123456789 02:02:02:02:02:02 > 02:02:02:02:02:02")))
	require.NotContains(t, string(out), "456800")
	_, err = w.Receive(nil, 0)
	require.ErrorIs(t, err, os.ErrClosed)
}

func TestPairCarriesTimesAndCRCs(t *testing.T) {
	since := int64(0)
	a, b := newPair(false, func() (func() int64, int64) { return func() int64 { return since }, 1000 })
	require.NoError(t, a.SendAt(Frame{Data: make([]byte, 60), At: 1500, Damage: BadCRC}))
	frames := make([]Frame, 2)
	n, err := b.Receive(frames, 0)
	require.NoError(t, err)
	require.Zero(t, n, "it is on the way")
	since = 500
	n, err = b.Receive(frames, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.EqualValues(t, 1500, frames[0].At)
	require.NotZero(t, frames[0].Damage&BadCRC)
}
