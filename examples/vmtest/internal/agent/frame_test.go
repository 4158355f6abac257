package agent_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/examples/vmtest/internal/agent"
)

func encode(t testing.TB, frames ...agent.Frame) []byte {
	t.Helper()
	var b []byte
	for _, f := range frames {
		var err error
		b, err = f.Append(b)
		require.NoError(t, err)
	}
	return b
}

// frames reads all of b and returns the frames in it and how the stream ended.
func frames(b []byte) (all []agent.Frame, skipped uint64, err error) {
	return framesOf(bytes.NewReader(b))
}

func framesOf(b io.Reader) (all []agent.Frame, skipped uint64, err error) {
	r := agent.NewReader(b)
	for {
		f, err := r.Read()
		if err != nil {
			return all, r.Skipped(), err
		}
		all = append(all, f)
	}
}

var three = []agent.Frame{
	{Kind: agent.Hello, Payload: []byte(`{"Release":"6.1"}`)},
	{Kind: agent.Output, Job: 7, Payload: bytes.Repeat([]byte{0xa5}, agent.MaxPayload)},
	{Kind: agent.Exit, Job: 0xffffffff, Payload: []byte("{}")},
}

func TestFramesArriveAsTheyWereSent(t *testing.T) {
	got, skipped, err := frames(encode(t, three...))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, three, got)
	require.Zero(t, skipped)
}

func TestFramesMayArriveInPieces(t *testing.T) {
	short := []agent.Frame{three[0], three[2]}
	got, skipped, err := framesOf(iotest.OneByteReader(bytes.NewReader(encode(t, short...))))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, short, got)
	require.Zero(t, skipped)
}

func TestGarbageBetweenFramesIsSkipped(t *testing.T) {
	start := encode(t, three[0])
	// Beginnings of frames, a whole one with a bad payload, plain text.
	bad := encode(t, three[1])
	bad[len(bad)-1] ^= 1
	for name, garbage := range map[string][]byte{
		"text": []byte("[    0.000000] Linux version 6.1\r\n"), "half a magic": start[:2], "half a header": start[:20],
		"bad payload": bad, "zeros": make([]byte, 100),
	} {
		t.Run(name, func(t *testing.T) {
			b := bytes.Join([][]byte{garbage, encode(t, three[0]), garbage, encode(t, three[2])}, nil)
			got, skipped, err := frames(b)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, []agent.Frame{three[0], three[2]}, got)
			require.EqualValues(t, 2*len(garbage), skipped)
		})
	}
}

func TestCutFrameIsAnUnexpectedEnd(t *testing.T) {
	whole := encode(t, three[0])
	for n := 1; n < len(whole); n++ {
		got, _, err := frames(whole[:n])
		require.Empty(t, got)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "cut at %d", n)
	}
}

func TestFlippedBitLosesOnlyItsFrame(t *testing.T) {
	whole := encode(t, three[0])
	for bit := range 8 * len(whole) {
		b := append(bytes.Clone(whole), encode(t, three[2])...)
		b[bit/8] ^= 1 << (bit % 8)
		got, _, err := frames(b)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, []agent.Frame{three[2]}, got, "bit %d", bit)
	}
}

func TestPayloadThatDoesNotFitIsRefused(t *testing.T) {
	b, err := agent.Frame{Kind: agent.Output, Payload: make([]byte, agent.MaxPayload+1)}.Append(nil)
	require.ErrorContains(t, err, "32769 bytes")
	require.Empty(t, b)
}

func FuzzReader(f *testing.F) {
	small := []agent.Frame{three[0], {Kind: agent.Output, Job: 7, Payload: []byte("text")}, three[2]}
	whole := encode(f, small...)
	f.Add(whole)
	f.Add(whole[3:])
	huge := encode(f, three[0])
	binary.LittleEndian.PutUint32(huge[12:], 1<<31)
	f.Add(huge)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, skipped, err := frames(b)
		require.Error(t, err)
		n := skipped
		for _, f := range got {
			require.LessOrEqual(t, len(f.Payload), agent.MaxPayload)
			n += uint64(len(encode(t, f)))
		}
		require.LessOrEqual(t, n, uint64(len(b)))

		// After garbage frames are found again, unless it may end in the
		// beginning of a true frame, which then takes them in.
		if !bytes.Contains(b, whole[:4]) {
			got, _, err = frames(append(bytes.Clone(b), whole...))
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, small, got)
		}
	})
}
