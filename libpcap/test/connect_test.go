package test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/ixcap/ixcap/capture/fanout"
	"github.com/ixcap/ixcap/capture/stream"
)

// request is what a listener asks a capture for: docs/STREAM.md, Attach.
type request struct {
	lossless    bool
	detachAfter time.Duration
	name, text  string
}

// refusing serves a socket that reads requests and refuses them.
func refusing(t *testing.T, path string) <-chan request {
	t.Helper()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	require.NoError(t, err)
	requests := make(chan request, 8)
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			b := make([]byte, 8192)
			n, _ := c.Read(b)
			if n >= 32 {
				names, texts := int(binary.LittleEndian.Uint32(b[24:])), int(binary.LittleEndian.Uint32(b[28:]))
				requests <- request{b[12] == 0, time.Duration(binary.LittleEndian.Uint64(b[16:])), string(b[32 : 32+names]), string(b[32+names : 32+names+texts])}
			}
			answer := make([]byte, 64, 100)
			copy(answer, "XCAPANS1")
			binary.LittleEndian.PutUint32(answer[8:], 3)
			binary.LittleEndian.PutUint32(answer[12:], 1)
			binary.LittleEndian.PutUint32(answer[56:], 2)
			_, _ = c.Write(append(answer[:64], "no"...))
			c.Close()
		}
	}()
	return requests
}

// What a handle asks the capture for is what the configuration, the environment and
// pcap_fanout say.
func TestHandleAsksForItsGroup(t *testing.T) {
	b := sanitized(t)
	dir := t.TempDir()
	requests := refusing(t, filepath.Join(dir, "eth0-queue0.sock"))
	conf := filepath.Join(dir, "pcap.conf")
	require.NoError(t, os.WriteFile(conf, []byte("group_eth0:1 = 23\nfanout@23 = consistent, weight=3\npolicy@23 = lossless, 5\n"), 0o644))
	for _, c := range []struct {
		env, device, call string
		lossless          bool
		detach            time.Duration
		text              string
	}{
		{"A=", "ixcap:eth0", "", false, 0, ""},
		{"PCAP_DRIVER=ixcap", "eth0", "", false, 0, ""},
		{"PCAP_GROUP=3", "ixcap:eth0", "", false, 0, "group=3\nmember=drive.PID.0\n"},
		{"PCAP_GROUP=3 PCAP_FANOUT=round_robin PCAP_POLICY=lossless PCAP_MEMBER=left", "pfq:eth0", "", true, 0, "group=3\nmode=lb\nmember=left\n"},
		{"PCAP_CONFIG=" + conf, "ixcap:eth0:1", "", true, 5 * time.Second, "group=23\nmode=consistent\nmember=drive.PID.0\nweight=3\n"},
		{"PCAP_CONFIG=" + conf, "ixcap:eth0:2", "", false, 0, ""},
		{"PCAP_GROUP=3", "ixcap:eth0", "fanout 7 filter, tcp port 80", false, 0, "group=7\nmode=filter\nmember=drive.PID.0\nfilter=tcp port 80\n"},
	} {
		d := b.start(t, append(strings.Fields(c.env), "IXCAP_SHARE="+dir, "HOME="+dir)...)
		require.Equal(t, "ok", d.do("create 0 %s", c.device))
		if c.call != "" {
			require.Equal(t, "0", d.do("%s", c.call))
		}
		require.Contains(t, d.do("activate 0"), "-1 attach to "+dir+"/eth0-queue0.sock: the capture says: no")
		got := <-requests
		require.Equal(t, request{c.lossless, c.detach, "drive", strings.ReplaceAll(c.text, "PID", fmt.Sprint(d.cmd.Process.Pid))}, got, c.env)
		if got.text != "" {
			_, err := fanout.ParseSettings(got.text)
			require.NoError(t, err)
		}
		d.end()
	}
}

func TestHandleWithWrongSettings(t *testing.T) {
	b := sanitized(t)
	s := single(t, stream.Config{})
	conf := filepath.Join(t.TempDir(), "pcap.conf")
	require.NoError(t, os.WriteFile(conf, []byte("\nfanuot = hash\n"), 0o644))
	for _, device := range []string{"ixcap:" + s.path, "lo"} {
		d := b.start(t, "PCAP_CONFIG="+conf)
		require.Equal(t, "ok", d.do("create 0 %s", device))
		require.Contains(t, d.do("activate 0"), "-1 "+conf+`:2: key "fanuot" is unknown. Possible: def_group, `)
		require.Equal(t, "0", d.do("close 0"))
		require.Contains(t, d.do("open_live 100 %s", device), conf+`:2: key "fanuot" is unknown.`)
		d.end()
	}
	d := b.start(t, "PCAP_DRIVER=netmap")
	require.Equal(t, "ok", d.do("create 0 eth0"))
	require.Equal(t, "-1 environment PCAP_DRIVER=netmap: unknown. Possible: ixcap; pfq and pfring are read as ixcap.", d.do("activate 0"))
	require.Equal(t, "-1 mode \"fast\" is unknown. Possible: hash, lb, rnd, cpu, rollover, qm, consistent, filter, buddy.", d.do("fanout 3 fast"))
	d.end()
	d = b.start(t)
	require.Equal(t, "ok", d.do("create 0 ixcap:eth0"))
	require.Equal(t, "-1 group 65536: not from 0 to 65535.", d.do("fanout 65536 hash"))
	d.end()
}

// Settings of a device that do not mean what they say are a warning, and the handle works.
func TestSettingsThatDoNotApplyAreWarnings(t *testing.T) {
	b := sanitized(t)
	s := single(t, stream.Config{})
	conf := filepath.Join(t.TempDir(), "pcap.conf")
	require.NoError(t, os.WriteFile(conf, []byte("rx_slots = 8192\ncaplen = 50\nirq@"+s.path+".0 = 0\n"), 0o644))
	want := conf[:min(60, len(conf))] + ":1: rx_slots is a setting of PFQ and left out; set affinity of " + s.path[:min(60, len(s.path))] + " channel 0: Invalid argument"
	d := b.start(t, "PCAP_CONFIG="+conf)
	require.Equal(t, "ok", d.do("create 0 ixcap:%s", s.path))
	require.Equal(t, "1", d.do("activate 0"))
	require.Equal(t, want, d.do("geterr 0"))
	require.Equal(t, "50", d.do("snapshot 0"), "the program has set no snaplen")
	s.store(10)
	require.Equal(t, result(0, cut(s.packets, 50), false), d.do("loop 10"))
	require.Equal(t, "0", d.do("close 0"))
	require.Equal(t, "ok "+want, d.do("open_live 70 ixcap:%s", s.path))
	require.Equal(t, "70", d.do("snapshot 0"))
	d.end()

	d = b.start(t, "PCAP_CAPLEN=60")
	d.open("ixcap:"+s.path, "set_snaplen 90")
	require.Equal(t, "60", d.do("snapshot 0"), "PCAP_CAPLEN overrides the program's")
	d.end()
}

// sendOn sends n frames of 100 bytes of an ethertype that hosts do not send.
func sendOn(t *testing.T, name string, n int) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	require.NoError(t, err)
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0)
	require.NoError(t, err)
	defer syscall.Close(fd)
	frame := make([]byte, 100)
	copy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x88\xb5")
	for range n {
		require.NoError(t, syscall.Sendto(fd, frame, 0, &syscall.SockaddrLinklayer{Ifindex: link.Attrs().Index}))
	}
}

// The paper's configuration holds for packet sockets of the system's libpcap too: programs
// that know no fan-out divide what a device receives.
func TestSystemHandlesJoinAGroup(t *testing.T) {
	b := sanitized(t)
	inNamespace(t)
	require.NoError(t, os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0o644))
	for _, name := range []string{"ixv0", "ixv1"} {
		link, err := netlink.LinkByName(name)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetUp(link))
	}
	home := "HOME=" + t.TempDir()
	environment := []string{home, "PCAP_GROUP=3", "PCAP_FANOUT=round_robin", "PCAP_CAPLEN=40", "PCAP_CHANNEL_ixv0=2"}
	warning := "mode round_robin of PF_RING is read as lb"
	var members []*driver
	d := b.start(t, environment...)
	require.Equal(t, "ok", d.do("create 0 ixv0"))
	require.Equal(t, "0", d.do("set_timeout 10"))
	require.Equal(t, "1", d.do("activate 0"))
	require.Equal(t, warning, d.do("geterr 0"))
	members = append(members, d)
	require.Equal(t, "rx 2/4 tx 4/4 other 0/0 combined 0/0\n", host{}.run(t, "channels", "ixv0"))

	d = b.start(t, environment...)
	require.Equal(t, "ok "+warning, d.do("open_live 1000 ixv0"))
	members = append(members, d)

	d = b.start(t, home)
	require.Equal(t, "ok", d.do("create 0 ixv0"))
	require.Equal(t, "0", d.do("set_snaplen 40"))
	require.Equal(t, "0", d.do("set_timeout 10"))
	require.Equal(t, "0", d.do("fanout 3 lb"))
	require.Equal(t, "0", d.do("activate 0"))
	members = append(members, d)

	d = b.start(t, home)
	require.Equal(t, "ok", d.do("open_live 40 ixv0"))
	require.Equal(t, "0", d.do("fanout 3 lb"))
	members = append(members, d)

	sendOn(t, "ixv1", 40)
	for i, d := range members {
		require.True(t, strings.HasPrefix(d.do("loop 10"), "0 10 400 "), "member %d: 10 frames of 40 bytes", i)
		require.Equal(t, "0 10 0 0", d.do("stats 0"), "member %d", i)
		d.end()
	}
}

func TestSystemHandlesWithWrongGroups(t *testing.T) {
	b := sanitized(t)
	inNamespace(t)
	link, err := netlink.LinkByName("ixv0")
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetUp(link))
	home := "HOME=" + t.TempDir()
	first := b.start(t, home, "PCAP_GROUP=3", "PCAP_FANOUT=lb")
	first.open("ixv0")
	d := b.start(t, home, "PCAP_GROUP=3", "PCAP_FANOUT=rnd")
	require.Equal(t, "ok", d.do("create 0 ixv0"))
	require.Equal(t, "-1 join group 3 as rnd: Invalid argument. All members of a group need one mode and one device.", d.do("activate 0"))
	d.end()
	d = b.start(t, home, "PCAP_GROUP=4", "PCAP_FANOUT=consistent")
	require.Equal(t, "mode consistent: packet sockets of the system have hash, lb, rnd, cpu, rollover, qm.", d.do("open_live 100 ixv0"))
	d.end()
	d = b.start(t, home)
	require.Equal(t, "ok", d.do("create 0 ixv0"))
	require.Equal(t, "-1 mode \"fast\" is unknown. Possible: hash, lb, rnd, cpu, rollover, qm, consistent, filter, buddy.", d.do("fanout 3 fast"))
	d.end()
	first.end()
}

func TestDevicesUnderADriver(t *testing.T) {
	b := sanitized(t)
	s := single(t, stream.Config{})
	share := "IXCAP_SHARE=" + filepath.Dir(s.path)
	d := b.start(t, share)
	require.Regexp(t, `^0 .*\blo\b.* ixcap:eth7$`, d.do("devices 0"))
	d.end()
	d = b.start(t, share, "PCAP_DRIVER=ixcap")
	require.Equal(t, "0 ixcap:eth7", d.do("devices 0"), "no other can be opened")
	d.open("ixcap:eth7")
	require.Equal(t, "0", d.do("close 0"))
	d.open("eth7")
	d.end()
}
