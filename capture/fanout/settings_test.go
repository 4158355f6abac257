package fanout

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/headers"
)

func TestSettings(t *testing.T) {
	s, err := ParseSettings("group=7\nmode=consistent\nmember=a b\nweight=3\ntunnels=vlan,gre,vxlan\ndeparted=count\n")
	require.NoError(t, err)
	require.Equal(t, Settings{Group: 7, Mode: Consistent, Member: "a b", Weight: 3, Tunnels: GRE | VXLAN, HasTunnels: true, Departed: CountLost}, s)

	s, err = ParseSettings("\n group = 0 \nfilter = tcp port 80 and host 10.0.0.1\n")
	require.NoError(t, err)
	require.Equal(t, "tcp port 80 and host 10.0.0.1", s.Filter.String())
	require.Equal(t, Unset, s.Mode)
	require.EqualValues(t, 1, s.Weight)
	require.False(t, s.HasTunnels)

	for m := Hash; m < modes; m++ {
		got, err := ParseMode(m.String())
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
	for tun := range AllTunnels + 1 {
		got, err := headers.ParseTunnels(tun.String())
		require.NoError(t, err)
		require.Equal(t, tun, got)
	}
}

func TestSettingsErrorsSayWhatIsPossible(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "no group: write group=N",
		"mode=hash":                        "no group: write group=N",
		"group=65536":                      `group "65536": must be a number, 0 to 65535`,
		"group=-1":                         "0 to 65535",
		"group=1\ngroup=1":                 "group stands twice",
		"group=1\nmode=flow":               `mode "flow": choose one of hash, lb, rnd, cpu, rollover, qm, consistent, filter, buddy`,
		"group=1\nmode=":                   `mode ""`,
		"group=1\nweight=0":                "1 to 255",
		"group=1\nweight=256":              "1 to 255",
		"group=1\nmember=":                 "no name",
		"group=1\nmember=a\x01":            "printable",
		"group=1\nmember=\xff":             "printable",
		"group=1\nmode=filter":             "write filter=EXPRESSION",
		"group=1\nfilter=tcp prt 1":        "column",
		"group=1\nmode=hash\nfilter=tcp":   "write mode=filter",
		"group=1\ntunnels=gre,ipsec":       `tunnel "ipsec": choose of vlan,mpls,gre,vxlan,gtpu,ipip, or all, or none`,
		"group=1\ndeparted=drop":           "choose redistribute or count",
		"group=1\nmode=buddy\nthreshold=0": "1 to 100",
		"group=1\nmode=lb\nthreshold=9":    "write mode=buddy",
		"group=1\nspeed=3":                 "choose one of group, mode, member, weight, filter, tunnels, threshold, departed",
		"group=1\nhash":                    "write key=value",
		"group=1\nmember=" + strings.Repeat("x", 201): "at most 200",
		strings.Repeat("\n", 4097):                    "at most 4096",
	} {
		_, err := ParseSettings(text)
		require.ErrorContains(t, err, want, "%q", text)
		require.ErrorContains(t, err, "fan-out settings: ")
	}
}

// FuzzSettings: what is accepted has a text that means the same.
func FuzzSettings(f *testing.F) {
	f.Add("group=7\nmode=consistent\nmember=a b\nweight=3\ntunnels=vlan,gre,vxlan\ndeparted=count\n")
	f.Add("group=1\nmode=filter\nfilter=tcp port 80")
	f.Add("group=65535\nmode=rollover\ntunnels=all\ndeparted=redistribute")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSettings(text)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		require.NotZero(t, s.Weight)
		require.LessOrEqual(t, len(s.Member), MaxName)
		again, err := ParseSettings(s.String())
		if len(s.String()) > MaxText {
			return
		}
		require.NoError(t, err, "%q", s.String())
		require.Equal(t, s.String(), again.String())
		again.Filter = s.Filter
		require.Equal(t, s, again)
	})
}
