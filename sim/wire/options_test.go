package wire

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseOptionsReadsKeysAndValues(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []Option
	}{
		{"", nil},
		{"gen", []Option{{"gen", ""}}},
		{"pcap=a b.pcap,rate=line,loop=3", []Option{{"pcap", "a b.pcap"}, {"rate", "line"}, {"loop", "3"}}},
		{`pcap="a,b.pcap",backpressure`, []Option{{"pcap", "a,b.pcap"}, {"backpressure", ""}}},
		{`pcap=a\,b\\c\".pcap`, []Option{{"pcap", `a,b\c".pcap`}}},
		{`pcap=dir/"x\"y\\z,"=1`, []Option{{"pcap", `dir/x"y\z,=1`}}},
		{"a=b=c", []Option{{"a", "b=c"}}},
		{"a=", []Option{{"a", ""}}},
	} {
		got, err := ParseOptions(c.in)
		require.NoError(t, err, c.in)
		require.Equal(t, c.want, got, c.in)
	}
}

func TestParseOptionsRefusesInvalidSyntax(t *testing.T) {
	for in, want := range map[string]string{
		"=x":        "no key",
		"a,,b":      "no key",
		"a,":        "no key",
		`a="x`:      "no closing double quote",
		`a=x\`:      "ends in a backslash",
		"a=1,b,a=2": `key "a" is given twice`,
	} {
		_, err := ParseOptions(in)
		require.ErrorContains(t, err, want, in)
	}
}

func TestOptionStringIsReadBack(t *testing.T) {
	for _, v := range []string{"", "x", `a,b`, `\`, `"`, `a\",b`, "a=b", " "} {
		o := Option{"pcap", v}
		got, err := ParseOptions(o.String() + ",backpressure")
		require.NoError(t, err)
		require.Equal(t, []Option{o, {"backpressure", ""}}, got)
	}
}

func FuzzOptions(f *testing.F) {
	f.Add(`pcap="a,b\"",rate=line,backpressure`)
	f.Add(`a=\,b="`)
	f.Fuzz(func(t *testing.T, s string) {
		options, err := ParseOptions(s)
		if err != nil {
			return
		}
		written := ""
		for i, o := range options {
			if i > 0 {
				written += ","
			}
			written += o.String()
		}
		again, err := ParseOptions(written)
		require.NoError(t, err)
		require.Equal(t, options, again)
	})
}

func TestSplitOptionsSplitsByKey(t *testing.T) {
	taken, rest := SplitOptions([]Option{{"a", "1"}, {"b", ""}, {"c", "2"}}, "c", "a", "z")
	require.Equal(t, []Option{{"a", "1"}, {"c", "2"}}, taken)
	require.Equal(t, []Option{{"b", ""}}, rest)
}

func TestParseNamesKeyValueAndWhatIsAllowed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "good.pcap")
	require.NoError(t, os.WriteFile(file, classicFile(t, 3), 0o600))
	jumbo := filepath.Join(dir, "large.pcap")
	require.NoError(t, os.WriteFile(jumbo, classicFile(t, 1, 1514), 0o600))
	for in, want := range map[string]string{
		"":                              "no wire, want one of pcap=FILE, gen, mix, packet=IFACE, sink",
		"rate=line":                     "no wire",
		"foo=1":                         `unknown key "foo", want pcap, gen, mix, packet, sink`,
		"gen,pcap=x":                    "a port has one wire",
		"gen,lopp=3":                    `wire option "lopp=3": unknown key "lopp", want gen, rate, size`,
		"gen,loop=3":                    `unknown key "loop"`,
		"gen=1":                         `gen="1": want no value`,
		"gen,size=59":                   `size="59": want a size in bytes without CRC from 60 to 15868`,
		"gen,size=100-60":               `size="100-60": want`,
		"gen,size=60-":                  `size="60-": want`,
		"gen,flows=0":                   `flows="0": want a whole number from 1`,
		"gen,flows=4294967296":          "flows=4294967296: frames of 60 bytes on average take too much memory",
		"gen,flows=1000000,size=1514":   "flows=1000000: frames of 1514 bytes on average take too much memory",
		"gen,count=-1":                  `count="-1": want a whole number from 1, or forever`,
		"gen,vlan=4095":                 `vlan="4095": want a VLAN ID from 1 to 4094`,
		"gen,proto=icmp":                `proto="icmp": want udp or tcp`,
		"gen,seed=x":                    `seed="x": want`,
		"gen,backpressure=maybe":        `backpressure="maybe": want no value, true or false`,
		"gen,burst=1ns":                 `burst="1ns": want a duration from 1us to 1s`,
		"gen,rate=11Gbps":               `rate="11Gbps": want line, recorded, a packet rate`,
		"gen,rate=15Mpps":               `rate="15Mpps": want`,
		"gen,rate=0pps":                 `rate="0pps": want`,
		"gen,rate=1e3pps":               `rate="1e3pps": want`,
		"gen,rate=1/2Gbps":              `rate="1/2Gbps": want`,
		"gen,rate=.pps":                 `rate=".pps": want`,
		"gen,rate=0.5bps":               `rate="0.5bps": want`,
		"gen,rate=fast":                 `rate="fast": want`,
		"gen,rate=recorded":             "rate=recorded: generated frames have no recorded spacing",
		"gen,size=1514,rate=14.88Mpps":  "rate=14.88Mpps: the line carries at most 0.812744Mpps of these frames",
		"pcap=":                         `pcap="": want the name of a pcap or pcapng file`,
		"pcap=" + dir:                   "is a folder",
		"pcap=" + dir + "/none":         "no such file",
		"pcap=" + file + ",cut=yes":     `cut="yes": want pad or skip`,
		"pcap=" + file + ",loop=0":      `loop="0": want a whole number from 1, or forever`,
		"pcap=" + file + ",size=60":     `unknown key "size", want pcap, rate, loop, backpressure, cut, interface, other, burst`,
		"pcap=" + jumbo + ",rate=1Mpps": "rate=1Mpps: the line carries at most 0.812744Mpps",
		"packet=":                       `packet="": want the name of a network interface`,
		"packet=lo,rate=line":           `unknown key "rate", want packet, backpressure`,
	} {
		options, err := ParseOptions(in)
		require.NoError(t, err, in)
		_, err = Parse(options)
		require.ErrorContains(t, err, want, in)
		require.NotContains(t, err.Error(), "\n", in)
	}
}

func TestRatesAreReadExactly(t *testing.T) {
	for in, want := range map[string]rate{
		"line":        {kind: rateLine},
		"recorded":    {kind: rateRecorded},
		"14.88Mpps":   {ratePackets, 14_880_000_000_000},
		"100kpps":     {ratePackets, 100_000_000_000},
		"0.000001pps": {ratePackets, 1},
		"5Gbps":       {rateBits, 5_000_000_000},
		"10Gbps":      {rateBits, 10_000_000_000},
		"1.5kbps":     {rateBits, 1500},
	} {
		got, err := parseRate(Option{"rate", in})
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
}
