package settings_test

import (
	"encoding"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/daemon/settings"
	"github.com/ixcap/ixcap/driver"
)

func TestRefusedTextLeavesTheValueUnchanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules")
	require.NoError(t, os.WriteFile(file, []byte("(udp) all\n96 # the rest"), 0o600))
	for _, c := range []struct {
		v    flag.Value
		good map[string]string
		bad  map[string]string
	}{
		{new(settings.Pages), map[string]string{"2MiB": "2MiB", "1GiB": "1GiB", "ordinary": "ordinary"}, map[string]string{"4KiB": "must be 2MiB, 1GiB or ordinary", "": "must be"}},
		{new(settings.Cores), map[string]string{"2, 3": "2,3", "0": "0"}, map[string]string{"1,-2": "must be a list of numbers from 0", "": "must be a list of numbers from 0"}},
		{new(settings.FileMode), map[string]string{"660": "0660"}, map[string]string{"0": "octal", "": "octal", "0888": "octal", "1777": "octal"}},
		{new(settings.Rules), map[string]string{"@" + file: "(udp) all; 96", "drop": "drop", "all": "none", "none": "none"}, map[string]string{"96 96": "separated by", "": "no rules", "\n ": "no rules", "@" + file + "x": "no such file"}},
		{
			new(settings.Dedup), map[string]string{"true": "window=200ms,records=32768,pools=8,index=content,bytes=0,ignore=none", "false": "none", "none": "none", "records=4": "window=200ms,records=4,pools=4,index=content,bytes=0,ignore=none", "window=1s,index=rss": "window=1s,records=32768,pools=8,index=rss,bytes=0,ignore=none", "ignore=ttl+vlan,bytes=70": "window=200ms,records=32768,pools=8,index=content,bytes=70,ignore=vlan+ttl"},
			map[string]string{"window=0": `"window=0": choose more than 0, or leave it out`, "window=0.1ns": "choose more than 0", "records=0": `"records=0": choose 1 or more, or leave it out`, "pools=0": `"pools=0": choose 1 or more`, "pools=-1": "choose 1 or more", "window": "window", "": "must be", "colour=3": "must be window=DURATION", "bytes=-1": "bytes compared", "ignore=ttl+dscp": `field "dscp": choose of vlan+ttl+checksum+mac, or none. Join several with +`, "ignore=": `field ""`, "ignore=vlan,ttl": `"ttl": must be`, "window=200ms,records=x": `"records=x"`},
		},
		{
			new(settings.VFs), map[string]string{"2": "default, default", "none": "none", "default": "default", "trust=off spoofchk=on": "default", "mac=02-00-00-00-01-01 vlan=7,trust=on spoofchk=off query_rss=on state=disable": "mac=02:00:00:00:01:01 vlan=7, trust=on spoofchk=off query_rss=on state=disable"},
			map[string]string{"": "virtual function 0: empty: write default", "default,": "virtual function 1: empty", "64": "64 virtual functions: must be 1 to 63, or none", "0": "0 virtual functions", "mac=1": "mac=1: must be an address", "vlan=x": `VLAN "x": must be a number`, "trust": "trust: must be trust=on or trust=off", "colour=3": `"colour=3": must be mac, vlan, trust`},
		},
		{
			new(settings.Mirrors), map[string]string{"none": "none", "to=2 functions=0+1": "to=2 functions=0+1", "to=port downlink uplink,to=0 vlans=7+8": "to=port uplink downlink, to=0 vlans=7+8"},
			map[string]string{"": "mirror rule 0: must say what is copied and where", "to=1": "must say what is copied", "uplink": "must say what is copied and where", "to=x uplink": `virtual function "x": must be a number`, "to=1 functions=0+": `virtual function "": must be`, "to=1 vlans=": `VLAN ""`, "to=1 up": `"up": must be to=N, to=port`},
		},
	} {
		for text, want := range c.good {
			require.NoError(t, c.v.Set(text), text)
			require.Equal(t, want, c.v.String())
			require.NoError(t, c.v.(encoding.TextUnmarshaler).UnmarshalText([]byte(text)))
			for bad, why := range c.bad {
				require.ErrorContains(t, c.v.Set(bad), why, bad)
				require.Equal(t, want, c.v.String(), "after %q", bad)
			}
		}
	}
}

func TestRSSFieldsByName(t *testing.T) {
	for name, want := range map[string]driver.HashFields{
		"ports": 0, "addresses": driver.HashIPv4 | driver.HashIPv6,
		"tcp-ports": driver.HashTCPv4 | driver.HashIPv4 | driver.HashTCPv6 | driver.HashIPv6,
	} {
		var r settings.RSS
		require.NoError(t, r.Set(name))
		require.Equal(t, want, r.Fields)
		require.Equal(t, name, r.String())
	}
	require.EqualError(t, new(settings.RSS).Set("udp"), `"udp": must be ports, tcp-ports or addresses`)
	for _, device := range []string{"xdp:eth0", "packet:eth0"} {
		_, err := settings.Parse("f", "[port.a]\ndevice = \""+device+"\"\nrss = \"addresses\"\nport_filters = \"(udp) drop\"\nmode = \"capture\"\nstorage.dirs = \"/data\"\n")
		require.ErrorContains(t, err, "port.a.rss: only an 82599 has it")
		require.ErrorContains(t, err, "port.a.port_filters: only an 82599 has filters: use rules")
	}
}
