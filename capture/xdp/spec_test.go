package xdp

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParseSpec(t *testing.T) {
	for name, want := range map[string]Config{
		"xdp:eth0": {Interface: "eth0"},
		"xdp:eth0,queues=4,mode=zerocopy,ring=1024,rss=symmetric": {Interface: "eth0", Queues: 4, Mode: ZeroCopy, Ring: 1024, Symmetric: true},
		"xdp:eth0,busy=50us,budget=32,promisc=off,stamps=device":  {Interface: "eth0", Busy: 50 * time.Microsecond, Budget: 32, Quiet: true, DeviceStamps: true},
		"xdp:eth0,take=tcp:80+vlan:5":                             {Interface: "eth0", Take: []Match{{TCP, 80}, {VLAN, 5}}},
		"xdp:eth0,pass=ether:0x0806+udp:53,mode=auto":             {Interface: "eth0", Pass: []Match{{EtherType, 0x806}, {UDP, 53}}},
	} {
		got, err := ParseSpec(name, Config{})
		require.NoError(t, err, name)
		require.Equal(t, want, got, name)
	}
	for name, want := range map[string]string{
		"eth0":                                "does not begin with xdp:",
		"xdp:":                                "no interface. Name one",
		"xdp:eth0/1":                          `"eth0/1" is no name of an interface`,
		"xdp:eth0,ring=1000":                  "must be a power of two",
		"xdp:eth0,ring=32":                    "must be 64 to 65536",
		"xdp:eth0,queues=0":                   "must be 1 to 256",
		"xdp:eth0,mode=fast":                  "must be one of auto, zerocopy, copy, generic",
		"xdp:eth0,busy=50":                    "not a duration. Write one like 50us",
		"xdp:eth0,busy=-1us":                  "must be positive",
		"xdp:eth0,busy=50ns":                  "must be whole microseconds",
		"xdp:eth0,budget=3":                   "has no effect without busy",
		"xdp:eth0,take=tcp:1,pass=udp:":       "want vlan:ID",
		"xdp:eth0,take=tcp:1,pass=udp:1":      "only one of them can be set",
		"xdp:eth0,take=ip:1":                  "no such field. There are vlan, ether, tcp, udp",
		"xdp:eth0,take=vlan:4096":             "a VLAN identifier is 0 to 4095",
		"xdp:eth0,rss=toeplitz":               "must be symmetric",
		"xdp:eth0,stamps=both":                "must be kernel or device",
		"xdp:eth0,stamps=device,mode=generic": "not in generic mode",
		"xdp:eth0,promisc=maybe":              "must be on or off",
		"xdp:eth0,ring=64,ring=64":            "ring is set twice",
		"xdp:eth0,speed=9":                    "no such option. There are queues, mode",
		"xdp:eth0,take=" + strings.Repeat("tcp:1+", 32) + "tcp:1": "more than 32 matches",
	} {
		_, err := ParseSpec(name, Config{})
		require.ErrorContains(t, err, want, name)
	}
}

// FuzzParseSpec checks that what ParseSpec accepts can be used, and that a match is read
// as it is written.
func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"xdp:eth0", "xdp:eth0,queues=4,ring=1024,busy=50us,budget=3,take=tcp:80+vlan:5,rss=symmetric,promisc=off,mode=copy", "xdp:,", "xdp:e,pass=ether:0x800"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		cfg, err := ParseSpec(name, Config{})
		if err != nil {
			return
		}
		require.NoError(t, cfg.check())
		require.Less(t, len(cfg.Interface), unix.IFNAMSIZ)
		for _, m := range append(cfg.Take, cfg.Pass...) {
			again, err := ParseMatch(m.String())
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
	})
}
