package clock

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPoliciesParseAsTheyPrint(t *testing.T) {
	for want, p := range map[string]Policy{
		"packet": PerPacket, "batch": Batch, "uniform": Uniform, "weighted": Weighted, "adaptive": Adaptive,
		"sample=1": Sample(1), "sample=8": Sample(8), "sample=4096": Sample(MaxSample),
	} {
		require.Equal(t, want, p.String())
		back, err := ParsePolicy(want)
		require.NoError(t, err)
		require.Equal(t, p, back)
		text, err := json.Marshal(p)
		require.NoError(t, err)
		require.Equal(t, `"`+want+`"`, string(text))
		back = Sample(3)
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, p, back)
	}
	require.Equal(t, PerPacket, Policy(0), "the default")
}

func TestUnknownPoliciesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":               "choose packet, batch, uniform, weighted, adaptive or sample=N",
		"Packet":         "choose packet",
		"sample":         "choose packet",
		"sample=":        "choose sample=1 to sample=4096",
		"sample=0":       "choose sample=1",
		"sample=-1":      "choose sample=1",
		"sample=4097":    "choose sample=1",
		"sample=1e3":     "choose sample=1",
		"sample=1000000": "choose sample=1",
	} {
		_, err := ParsePolicy(text)
		require.ErrorContains(t, err, want, text)
		p := Weighted
		require.Error(t, p.UnmarshalText([]byte(text)))
		require.Equal(t, Weighted, p)
	}
	c := New()
	defer c.Close()
	for _, p := range []Policy{Adaptive + 1, Sample(0), Sample(MaxSample + 1), 1 << 31, sampled<<1 | 8} {
		_, err := c.Stamper(p)
		require.ErrorContains(t, err, "unknown", "%#x", uint32(p))
		_, err = p.MarshalText()
		require.Error(t, err)
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"packet", "sample=8", "sample=08", "sample=+4", "sample=99999999999999999999", "weighted "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePolicy(s)
		if err != nil {
			return
		}
		require.NoError(t, p.check())
		back, err := ParsePolicy(p.String())
		require.NoError(t, err)
		require.Equal(t, p, back)
	})
}
