package flow

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// way is one direction of a conversation of TCP or UDP.
type way struct {
	proto    string
	src, dst netip.AddrPort
}

type sum struct{ frames, bytes uint64 }

// tsharkWays sums the frames of a capture by tshark's dissection, those of hosts that
// exchange fragments left out: tshark knows the ports of the last fragment only.
func tsharkWays(t *testing.T, file string) (ways map[way]sum, fragmented map[[2]netip.Addr]bool) {
	fields := []string{"frame.protocols", "frame.len", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport", "udp.srcport", "udp.dstport", "ip.flags.mf", "ip.frag_offset", "ipv6.fraghdr"}
	args := []string{"-n", "-r", file, "-T", "fields", "-E", "occurrence=f", "-o", "ip.defragment:FALSE"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	text, err := exec.Command("tshark", args...).Output()
	require.NoError(t, err)
	ways, fragmented = map[way]sum{}, map[[2]netip.Addr]bool{}
	for line := range strings.Lines(string(text)) {
		v := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		require.Len(t, v, len(fields))
		version, proto := layer(v[0])
		if version == "" {
			continue
		}
		at := 2
		if version == "ipv6" {
			at = 4
		}
		src, dst := netip.MustParseAddr(v[at]), netip.MustParseAddr(v[at+1])
		if v[10] == "1" || v[10] == "True" || v[11] != "" && v[11] != "0" || v[12] != "" {
			fragmented[[2]netip.Addr{src, dst}] = true
			continue
		}
		if at = 6; proto == "udp" {
			at = 8
		}
		if proto != "tcp" && proto != "udp" || v[at] == "" {
			continue
		}
		port := func(s string) uint16 {
			n, err := strconv.ParseUint(s, 10, 16)
			require.NoError(t, err)
			return uint16(n)
		}
		w := way{proto, netip.AddrPortFrom(src, port(v[at])), netip.AddrPortFrom(dst, port(v[at+1]))}
		length, err := strconv.ParseUint(v[1], 10, 16)
		require.NoError(t, err)
		ways[w] = sum{ways[w].frames + 1, ways[w].bytes + length}
	}
	return ways, fragmented
}

// layer returns the first version of IP among tshark's protocols and what follows it.
func layer(protocols string) (version, next string) {
	for name := range strings.SplitSeq(protocols, ":") {
		switch {
		case version == "" && name == "mpls":
			return "", ""
		case version == "" && (name == "ip" || name == "ipv6"):
			version = name
		case version != "" && !strings.HasPrefix(name, "ipv6."):
			return version, name
		}
	}
	return version, ""
}

func TestConversationsAreThoseOfTshark(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed: make tools says how")
	}
	if raceEnabled {
		t.Skip("it takes long, and has no second goroutine")
	}
	for _, file := range captures(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			want, fragmented := tsharkWays(t, file)
			got := map[way]sum{}
			records, _ := run(t, Config{Flows: 1 << 14, Idle: time.Hour, Active: 24 * time.Hour}, capture(t, file), 64)
			for _, r := range records {
				proto := map[uint8]string{6: "tcp", 17: "udp"}[r.Proto]
				for d, dir := range r.Directions {
					src, dst := netip.AddrPortFrom(r.Src, r.SrcPort), netip.AddrPortFrom(r.Dst, r.DstPort)
					if d == Reverse {
						src, dst = dst, src
					}
					w := way{proto, src, dst}
					if proto != "" && dir.Packets > 0 && !fragmented[[2]netip.Addr{src.Addr(), dst.Addr()}] {
						got[w] = sum{got[w].frames + dir.Packets, got[w].bytes + dir.Bytes}
					}
				}
			}
			for w := range want {
				if fragmented[[2]netip.Addr{w.src.Addr(), w.dst.Addr()}] {
					delete(want, w)
				}
			}
			require.NotEmpty(t, want)
			require.Equal(t, want, got)
		})
	}
}
