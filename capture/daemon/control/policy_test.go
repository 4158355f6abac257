package control

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
)

func TestPolicyParsesAndPrints(t *testing.T) {
	for text, want := range map[string]struct {
		p     stream.Policy
		after time.Duration
	}{
		"lossless":                    {stream.Lossless, 0},
		"lossy":                       {stream.Lossy, 0},
		"lossless,detach-after=2s":    {stream.Lossless, 2 * time.Second},
		"lossless,detach-after=1h30m": {stream.Lossless, 90 * time.Minute},
	} {
		p, after, err := ParsePolicy(text)
		require.NoError(t, err, text)
		require.Equal(t, want.p, p)
		require.Equal(t, want.after, after)
		require.Equal(t, text, PolicyText(p.String(), after))
	}
	for _, text := range []string{"", "Lossless", "lossless,", "lossless,x", "lossless,detach-after=", "lossless,detach-after=-1s",
		"lossless,detach-after=0s", "lossless,detach-after=2s,lossy", "lossy,", "lossy,detach-after=1s"} {
		_, _, err := ParsePolicy(text)
		require.ErrorContains(t, err, "policy", text)
	}
}

func TestNameOfTheFormQueueIDIsNoName(t *testing.T) {
	attached := []Listener{{Queue: 0, ID: 1, Name: "victim"}, {Queue: 0, ID: 2, Name: "0:1"}}
	l, err := find("0:1", attached)
	require.NoError(t, err)
	require.Equal(t, "victim", l.Name)
	_, err = find("0:3", attached)
	require.ErrorContains(t, err, "no listener 0:3")
	l, err = find("0:2", attached)
	require.NoError(t, err)
	require.Equal(t, "0:1", l.Name)
}
