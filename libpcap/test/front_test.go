package test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/ring"
)

// systemLibrary is the path of the system's libpcap, as the loader finds it.
func systemLibrary(t *testing.T, b built) string {
	t.Helper()
	cmd := exec.Command("ldd", b.drive)
	out, err := cmd.Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[0], "libpcap.so") {
			return f[2]
		}
	}
	t.Fatalf("drive has no libpcap:\n%s", out)
	return ""
}

func symbols(t *testing.T, path string) map[string]bool {
	t.Helper()
	f, err := elf.Open(path)
	require.NoError(t, err)
	defer f.Close()
	list, err := f.DynamicSymbols()
	require.NoError(t, err)
	names := map[string]bool{}
	for _, s := range list {
		if s.Section != elf.SHN_UNDEF && elf.ST_BIND(s.Info) != elf.STB_LOCAL {
			names[s.Name] = true
		}
	}
	return names
}

func TestLibraryHasTheWholeABI(t *testing.T) {
	b := build(t)
	system := symbols(t, systemLibrary(t, b))
	require.Greater(t, len(system), 80)
	for soname, file := range map[string]string{"libpcap.so.0.8": "libpcap.so.0.8", "libpcap.so.1": "libpcap.so.1"} {
		own := symbols(t, filepath.Join(b.dir, file))
		for name := range system {
			require.True(t, own[name], "%s lacks %s", file, name)
		}
		f, err := elf.Open(filepath.Join(b.dir, file))
		require.NoError(t, err)
		got, err := f.DynString(elf.DT_SONAME)
		require.NoError(t, err)
		require.Equal(t, []string{soname}, got)
		require.NoError(t, f.Close())
	}
}

func TestEveryWayToReadDeliversEveryFrame(t *testing.T) {
	b := sanitized(t)
	for _, policy := range []string{"lossy", "lossless"} {
		each(t, func(t *testing.T, single func(c stream.Config) *served) {
			s := single(stream.Config{})
			d := b.start(t, "PCAP_POLICY="+policy)
			d.open("ixcap:"+s.path, "set_tstamp_precision 1", "set_timeout 100")
			require.Equal(t, "1", d.do("get_tstamp_precision 0"))
			s.store(6000)
			require.Equal(t, result(1000, s.packets[:1000], true), d.do("dispatch 1000"))
			require.Equal(t, result(0, s.packets[1000:2000], true), d.do("loop 1000"))
			require.Equal(t, result(0, s.packets[2000:2100], true), d.do("next 100"))
			require.Equal(t, result(1, s.packets[2100:2200], true), d.do("next_ex 100"))
			require.Equal(t, result(0, s.packets[2200:5000], true), d.do("loop 2800"))
			recv, drop, ifdrop := d.stats()
			require.Equal(t, [3]int{5000, 0, 0}, [3]int{recv, drop, ifdrop})
			s.Producer().Finish()
			require.Equal(t, result(0, s.packets[5000:], true), d.do("loop -1"), "the end is that of a savefile")
			require.Equal(t, result(-2, nil, true), d.do("next_ex 1"))
			recv, _, _ = d.stats()
			require.Equal(t, 6000, recv)
			d.end()
			require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 1 }, timeout, time.Millisecond)
			report := s.Stats().RecentDetached[0]
			require.Equal(t, "closed", report.DetachReason)
			require.NoError(t, report.Balanced())
			require.EqualValues(t, 6000, report.Read)
			require.Zero(t, s.Stats().CorruptCursors)
		})
	}
}

func TestFramesAreCutAndFiltered(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b, s := sanitized(t), single(stream.Config{})
		d := b.start(t)
		d.open("ixcap:"+s.path, "set_snaplen 60", "set_timeout 100")
		require.Equal(t, "60", d.do("snapshot 0"))
		s.store(500)
		require.Equal(t, result(0, cut(s.packets[:100], 60), false), d.do("loop 100"))
		require.Equal(t, "0", d.do("filter 1 len > 200"))
		var long []packet
		for _, p := range s.packets[100:] {
			if p.len > 200 {
				long = append(long, p)
			}
		}
		require.NotEmpty(t, long)
		require.Equal(t, result(0, cut(long[:50], 60), false), d.do("loop 50"), "what was taken before the filter is filtered, too")
		require.Equal(t, "0", d.do("filter 1 less 1"))
		require.Equal(t, result(0, nil, false), d.do("dispatch -1"), "a call ends after its timeout without a frame")
		recv, drop, _ := d.stats()
		require.Equal(t, [2]int{500, 0}, [2]int{recv, drop})
		require.Equal(t, "-1 BPF program is not valid", d.do("bad_filter 1"))
		require.Equal(t, "-1 can't parse filter expression: syntax error", d.do("filter 1 ip and and"))
		d.end()
	})
}

func TestTagsThatTheDeviceStrippedAreBack(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b, s := sanitized(t), single(stream.Config{})
		d := b.start(t)
		d.open("ixcap:"+s.path, "set_timeout 100")
		frame := s.gen.Append(nil, 0)
		tagged := slices.Concat(frame[:12], []byte{0x81, 0, 0xa0, 7}, frame[12:])
		s.put(packet{sec: 1, nsec: 1000, len: len(tagged), data: tagged}, ring.Frame{Data: frame, Len: uint32(len(frame)), VLAN: 0xa007, Info: ring.HasVLAN | ring.Stripped})
		s.put(packet{sec: 1, nsec: 2000, len: len(tagged), data: tagged}, ring.Frame{Data: tagged, Len: uint32(len(tagged)), VLAN: 0xa007, Info: ring.HasVLAN})
		s.Producer().Publish()
		require.Equal(t, "0", d.do("filter 1 vlan 7"))
		require.Equal(t, result(0, s.packets[:2], false), d.do("loop 2"))
		require.Equal(t, "0", d.do("filter 1 not vlan"))
		s.put(packet{sec: 1, nsec: 3000, len: len(frame), data: frame}, ring.Frame{Data: frame, Len: uint32(len(frame))})
		s.Producer().Publish()
		require.Equal(t, result(0, s.packets[2:], false), d.do("loop 1"))
		d.end()
	})
}

func TestDescriptorWakesEventLoops(t *testing.T) {
	b := sanitized(t)
	for _, call := range []string{"select", "poll", "epoll"} {
		for _, mode := range []string{"set_immediate_mode 1", "set_timeout 1000"} {
			s := single(t, stream.Config{})
			d := b.start(t)
			d.open("ixcap:"+s.path, mode)
			require.Equal(t, "0", d.do("nonblock 1"))
			require.Equal(t, "1", d.do("get_nonblock 0"))
			require.Equal(t, "1 1", d.do("has_fd 0"))
			d.send("%s 30000", call)
			s.store(100)
			require.Equal(t, "1", d.receive())
			require.Equal(t, result(10, s.packets[:10], false), d.do("dispatch 10"))
			require.Equal(t, "1", d.do("%s 30000", call), "frames are left")
			require.Equal(t, result(90, s.packets[10:100], false), d.do("dispatch -1"))
			require.Equal(t, result(0, nil, false), d.do("dispatch -1"), "nothing is left")
			d.send("select_loop 5000")
			for range 50 {
				s.store(100)
			}
			require.Equal(t, result(0, s.packets[100:], false), d.receive())
			s.Producer().Finish()
			require.Equal(t, "1", d.do("%s 30000", call), "the end wakes, too")
			require.Equal(t, result(0, nil, false), d.do("dispatch -1"))
			d.end()
		}
	}
}

func TestWaitsEndAsAsked(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b, s := sanitized(t), single(stream.Config{})
		d := b.start(t)
		d.open("ixcap:"+s.path, "set_timeout 20")
		none := result(0, nil, false)
		require.Equal(t, none, d.do("dispatch -1"), "timeout")
		require.Equal(t, none, d.do("next_ex 1"))
		require.Equal(t, "0", d.do("nonblock 1"))
		require.Equal(t, none, d.do("dispatch -1"))
		require.Equal(t, "0", d.do("nonblock 0"))

		broken := result(-2, nil, false)
		require.Equal(t, "0", d.do("signal_in 20"))
		require.Equal(t, broken, d.do("loop -1"))
		require.Equal(t, "0", d.do("thread_in 20"))
		require.Equal(t, broken, d.do("loop -1"))
		require.Equal(t, "0", d.do("breakloop 0"))
		require.Equal(t, broken, d.do("dispatch -1"))
		require.Equal(t, none, d.do("dispatch -1"), "a break ends one call")
		require.Equal(t, "0", d.do("break_at 3"))
		s.store(10)
		require.Equal(t, result(-2, s.packets[:3], false), d.do("loop -1"), "from the callback")
		require.Equal(t, result(0, s.packets[3:10], false), d.do("loop 7"), "what was left is delivered")
		d.end()
	})
}

func TestAttachmentOutlivesForkAndRights(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b, s := sanitized(t), single(stream.Config{})
		d := b.start(t, "ASAN_OPTIONS=detect_leaks=0:exitcode=99")
		d.open("ixcap:"+s.path, "set_timeout 100")
		require.Equal(t, "0", d.do("fork_close 0"), "a child that closes its copy")
		s.store(100)
		require.Equal(t, result(0, s.packets[:50], false), d.do("loop 50"))
		require.Equal(t, "0", d.do("fork 0"))
		if os.Getuid() == 0 {
			require.Equal(t, "0", d.do("chroot 0 %s", t.TempDir()))
			require.Equal(t, "0", d.do("drop_rights 65534"))
		}
		require.Equal(t, "0", d.do("filter 1 ip"), "the system's libpcap stays loaded")
		require.Equal(t, result(0, s.packets[50:], false), d.do("loop 50"))
		require.Len(t, s.Stats().Listeners, 1)
		require.NoError(t, s.Stats().Listeners[0].Balanced())
		d.end()
	})
}

func TestQueuesAreMergedByTime(t *testing.T) {
	for name, serve := range memories {
		t.Run(name, func(t *testing.T) {
			b, dir := sanitized(t), t.TempDir()
			queues := make([]*served, 3)
			for i := range queues {
				queues[i] = serve(t, dir, fmt.Sprintf("eth7-queue%d.sock", i), stream.Config{})
			}
			d := b.start(t, "IXCAP_SHARE="+dir, "PCAP_POLICY=lossless")
			d.open("ixcap:eth7", "set_timeout 100")
			var all []packet
			for n := range uint32(3000) {
				q := queues[n*2654435761>>16%3]
				frame := q.gen.Append(nil, uint64(n))
				p := packet{sec: 1700000000, nsec: n * 1000, len: len(frame), data: frame}
				q.put(p, ring.Frame{Data: frame, Len: uint32(len(frame))})
				all = append(all, p)
			}
			for _, q := range queues {
				q.Producer().Finish()
			}
			require.Equal(t, result(0, all, false), d.do("loop -1"))
			recv, drop, _ := d.stats()
			require.Equal(t, [2]int{3000, 0}, [2]int{recv, drop})
			d.end()
		})
	}
}

func TestLossesAreCounted(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b, s := sanitized(t), single(stream.Config{Size: stream.Block, Segment: stream.Block})
		s.SetMissed(1000)
		d := b.start(t)
		d.open("ixcap:"+s.path, "set_timeout 100")
		s.store(100)
		require.Equal(t, result(0, s.packets[:100], false), d.do("loop 100"))
		s.store(20000)
		s.SetMissed(1234)
		s.Producer().Finish()
		got := d.do("loop -1")
		recv, drop, missed := d.stats()
		require.Equal(t, 234, missed, "since it was attached")
		require.Equal(t, 20100, recv)
		require.Positive(t, drop)
		left := s.packets[100+drop:]
		require.Equal(t, result(0, left, false), got, "what is not lost is whole and in order")
		d.end()
		require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 1 }, timeout, time.Millisecond)
		report := s.Stats().RecentDetached[0]
		require.NoError(t, report.Balanced())
		require.EqualValues(t, drop, report.Overrun)
		require.EqualValues(t, 20100-drop, report.Read)
	})
}

// A frame that waits for its turn while the program pauses is overwritten, and not delivered.
func TestWaitingFramesAreNotDeliveredOverwritten(t *testing.T) {
	for name, serve := range memories {
		t.Run(name, func(t *testing.T) {
			b, dir := sanitized(t), t.TempDir()
			var queues []*served
			for i := range 2 {
				queues = append(queues, serve(t, dir, fmt.Sprintf("eth7-queue%d.sock", i), stream.Config{Size: stream.Block, Segment: stream.Block}))
			}
			d := b.start(t, "IXCAP_SHARE="+dir)
			d.open("ixcap:eth7", "set_timeout 100")
			for _, q := range queues {
				q.storeNumbered(1)
			}
			read := number(t, d.do("numbered 1"), 1)
			for range 100 {
				queues[0].storeNumbered(100)
				queues[1].storeNumbered(100)
			}
			for _, q := range queues {
				q.Producer().Finish()
			}
			read += number(t, d.do("numbered -1"), 1)
			recv, drop, _ := d.stats()
			require.Equal(t, 2*10_001, recv)
			require.Equal(t, recv-drop, read)
			d.end()
		})
	}
}

func TestProgramsMayWriteIntoCopies(t *testing.T) {
	each(t, func(t *testing.T, single func(c stream.Config) *served) {
		b := sanitized(t)
		for _, policy := range []string{"lossy", "lossless"} {
			s := single(stream.Config{})
			d, other := b.start(t, "PCAP_COPY=1", "PCAP_POLICY="+policy), b.start(t)
			d.open("ixcap:"+s.path, "set_timeout 100")
			other.open("ixcap:"+s.path, "set_timeout 100")
			require.Equal(t, "0", d.do("write_into 1"))
			s.store(500)
			require.Equal(t, result(0, s.packets, false), d.do("loop 500"))
			require.Equal(t, result(0, s.packets, false), other.do("loop 500"), "the stream is as it was")
			d.end()
			other.end()
		}
	})
}

func TestDetachedListenerIsTold(t *testing.T) {
	b, s := sanitized(t), single(t, stream.Config{})
	d := b.start(t)
	d.open("ixcap:"+s.path, "set_timeout 1000")
	s.attached(1)
	require.NoError(t, s.Detach(s.Stats().Listeners[0].ID, "a test"))
	require.Equal(t, result(-1, nil, false), d.do("loop -1"))
	d.end()
}

func TestPropertiesAreThoseOfACaptureDevice(t *testing.T) {
	b, dir := sanitized(t), t.TempDir()
	s := serve(t, dir, "eth7-queue0.sock", stream.Config{})
	d := b.start(t, "IXCAP_SHARE="+dir)
	require.Contains(t, strings.Fields(d.do("devices 0")), "ixcap:eth7")
	require.Contains(t, d.do("version 0"), "ixcap")
	require.Equal(t, "ok", d.do("create 0 ixcap:eth7"))
	for _, c := range [][2]string{
		{"dispatch 1", result(-3, nil, false)}, {"datalink 0", "-3 This handle hasn't been activated yet"},
		{"set_snaplen 0", "0"}, {"set_promisc 1", "0"}, {"set_rfmon 0", "0"}, {"set_buffer_size 4096", "0"}, {"set_timeout 10", "0"}, {"set_immediate_mode 0", "0"},
		{"set_tstamp_precision 7", "-12 This handle hasn't been activated yet"}, {"set_tstamp_precision 0", "0"}, {"tstamp_types 0", "1 0"}, {"can_set_rfmon 0", "0"}, {"activate 0", "0"},
		{"activate 0", "-4 can't perform  operation on activated capture"}, {"set_snaplen 9", "-4 can't perform  operation on activated capture"},
		{"datalink 0", "1"}, {"datalink_ext 0", "0"}, {"datalinks 0", "1 1"}, {"set_datalink 1", "0"}, {"set_datalink 12", "-1 RAW is not one of the DLTs supported by this device"},
		{"snapshot 0", "262144"}, {"is_swapped 0", "0"}, {"has_file 0", "0"}, {"direction 0", "0"}, {"direction 1", "0"},
		{"direction 2", "-1 set the direction to out: a capture has received frames only"},
		{"inject 16", "-1 send on ixcap:eth7: a capture's port receives only. Send on the interface itself, without ixcap."},
		{"lookup_net 0 ixcap:eth7", "0 "},
	} {
		require.Equal(t, strings.TrimSpace(c[1]), strings.TrimSpace(trimCode(d.do("%s", c[0]))), c[0])
	}
	s.attached(1)
	require.Equal(t, "drive", s.Stats().Listeners[0].Name)
	d.end()
}

// trimCode removes the empty text behind a code.
func trimCode(answer string) string { return strings.TrimRight(answer, " ") }

func TestDevicesThatAreNotThere(t *testing.T) {
	b, dir := sanitized(t), t.TempDir()
	d := b.start(t, "IXCAP_SHARE="+dir)
	require.Equal(t, "ok", d.do("create 0 ixcap:eth9"))
	require.Equal(t, "-5 no capture shares a port eth9 in "+dir+". Start one with hpcapdd --share DIR, and set IXCAP_SHARE to the folder.", d.do("activate 0"))
	require.Equal(t, "0", d.do("close 0"))
	got := d.do("open_live 96 ixcap:eth9")
	require.Contains(t, got, "ixcap:eth9: no capture shares a port eth9")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "eth5-queue0.sock"), nil, 0o600))
	require.Contains(t, d.do("open_live 96 ixcap:eth9"), "no capture shares a port eth9. Shared are ixcap:eth5. Start another with hpcapdd --share DIR.")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "eth9-queue0.sock"), nil, 0o600))
	require.Contains(t, d.do("open_live 96 ixcap:eth9"), "Connection refused")
	d.end()
}

// A port over the kernel's sockets is known by its interface, by its device in full, and by
// the names of its files.
func TestPortsAreFoundByTheirInterface(t *testing.T) {
	b := build(t)
	for _, c := range []struct {
		file, device string
		is, not      []string
	}{
		{"queue0.sock", "packet:eth7,sockets=2", []string{"eth7", "packet:eth7", "packet:eth7,sockets=2", "packet_eth7"}, []string{"eth", "eth70", "packet", "xdp:eth7", "packet:eth7,sockets=1", "packet_eth70"}},
		{"queue0.sock", "0000:03:00.0", []string{"0000:03:00.0", "0000_03_00.0"}, []string{"03:00.0"}},
		{"queue0.sock", "xdp:eth7", []string{"eth7", "xdp:eth7", "xdp_eth7"}, []string{"xdp:eth", "packet:eth7"}},
		{"packet_eth7-queue0.sock", "packet:eth7,sockets=2", []string{"eth7", "packet:eth7", "packet:eth7,sockets=2", "packet_eth7"}, []string{"eth", "xdp:eth7"}},
		{"xdp_eth7.5-queue0.sock", "xdp:eth7.5", []string{"eth7.5", "xdp:eth7.5"}, []string{"eth7", "packet:eth7.5"}},
		{"0000_03_00.0-queue0.sock", "0000:03:00.0", []string{"0000:03:00.0"}, []string{"03:00.0"}},
	} {
		dir := t.TempDir()
		serve(t, dir, c.file, stream.Config{Interface: c.device})
		d := b.start(t, "IXCAP_SHARE="+dir)
		for _, name := range c.is {
			require.Equal(t, "ok", d.do("create 0 ixcap:%s", name), name)
			require.Equal(t, "0", trimCode(d.do("activate 0")), "%s of %s", name, c.device)
			require.Equal(t, "0", d.do("close 0"))
		}
		for _, name := range c.not {
			require.Equal(t, "ok", d.do("create 0 ixcap:%s", name), name)
			said := d.do("activate 0")
			require.Contains(t, said, "-5 ", "%s of %s", name, c.device)
			require.Contains(t, said, "hpcapdd --share DIR.")
			require.Equal(t, "0", d.do("close 0"))
		}
	}
}

// TestWithoutACaptureNothingIsDifferent compares the answers over the system's libpcap
// and over ours, preloaded, on devices that are not ours.
func TestWithoutACaptureNothingIsDifferent(t *testing.T) {
	b := build(t)
	script := []string{
		"create 0 nosuch0", "activate 0", "dispatch 1", "datalink 0", "set_snaplen 9", "snapshot 0", "stats 0", "filter 1 ip", "close 0",
		"open_live 96 nosuch0", "lookup_net 0 nosuch0", "create 0 lo", "set_snaplen 90", "set_tstamp_precision 1", "set_tstamp_type 99", "set_timeout 1", "can_set_rfmon 0",
		"activate 0", "datalink 0", "datalinks 0", "tstamp_types 0", "snapshot 0", "nonblock 1", "get_nonblock 0", "dispatch 1", "filter 1 udp port 9 and less 1",
		"bad_filter 1", "direction 1", "set_datalink 99", "inject 0", "stats 0", "breakloop 0", "dispatch 1", "close 0",
		"devices 0", "open_offline 0 nosuch.pcap", "open_offline 0 ../../testdata/hosts.pcap", "loop -1", "dispatch -1", "next_ex 1", "stats 0", "has_file 0", "snapshot 0", "major_version 0", "minor_version 0",
	}
	run := func(environment []string) []string {
		d := startDriver(t, exec.Command(b.drive), environment)
		var out []string
		for _, line := range script {
			out = append(out, line+": "+d.do("%s", line))
		}
		d.end()
		return out
	}
	want := run(os.Environ())
	require.Equal(t, want, run(b.environment("IXCAP_SHARE=/nonexistent")))
	require.Equal(t, want, run(append(os.Environ(), "LD_PRELOAD="+filepath.Join(b.dir, "libpcap.so.1"), "IXCAP_SHARE=/nonexistent")))
}

func TestLibraryWithoutASystemLibpcapSaysSo(t *testing.T) {
	b := build(t)
	d := b.start(t, "IXCAP_LIBPCAP=/nonexistent")
	require.Contains(t, d.do("create 0 lo"), "the system's libpcap was not found")
	s := single(t, stream.Config{})
	require.Equal(t, "ok", d.do("create 0 ixcap:%s", s.path))
	require.Contains(t, d.do("activate 0"), "the system's libpcap was not found")
	d.end()
}

func TestTcpdumpWritesTheStream(t *testing.T) {
	needs(t, "tcpdump")
	for name, serve := range memories {
		t.Run(name, func(t *testing.T) {
			b, dir := build(t), t.TempDir()
			s := serve(t, dir, "eth7-queue0.sock", stream.Config{})
			var out, text bytes.Buffer
			cmd := exec.Command("tcpdump", "-i", "ixcap:eth7", "--time-stamp-precision=nano", "-w", "-", "udp")
			cmd.Env, cmd.Stdout, cmd.Stderr = b.environment("IXCAP_SHARE="+dir), &out, &text
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			s.attached(1)
			s.store(5000)
			s.Producer().Finish()
			require.NoError(t, cmd.Wait(), "%s", text.String())
			require.Contains(t, text.String(), "5000 packets captured\n5000 packets received by filter\n0 packets dropped by kernel\n")
			want := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d)
			want = append(want, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0)
			for _, p := range s.packets {
				for _, v := range []uint32{p.sec, p.nsec, uint32(len(p.data)), uint32(p.len)} {
					want = binary.LittleEndian.AppendUint32(want, v)
				}
				want = append(want, p.data...)
			}
			require.True(t, bytes.Equal(want, out.Bytes()), "the savefile has what was stored")
		})
	}
}

func TestTcpdumpEndsOnSignals(t *testing.T) {
	needs(t, "tcpdump")
	b, s := build(t), single(t, stream.Config{})
	var text bytes.Buffer
	cmd := exec.Command("tcpdump", "-n", "-i", "ixcap:"+s.path, "-w", filepath.Join(t.TempDir(), "out.pcap"), "-U", "-Z", "root")
	cmd.Env, cmd.Stderr = b.environment(), &text
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	s.attached(1)
	s.store(100)
	require.Eventually(t, func() bool { return s.Stats().Listeners[0].Read == 100 }, timeout, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.NoError(t, cmd.Wait(), "%s", text.String())
	require.Contains(t, text.String(), "100 packets captured\n")
	require.Eventually(t, func() bool { return s.Stats().DetachedTotal == 1 }, timeout, time.Millisecond)
	require.Equal(t, "closed", s.Stats().RecentDetached[0].DetachReason)
}

func TestValgrindFindsNothing(t *testing.T) {
	needs(t, "valgrind")
	b, s := build(t), single(t, stream.Config{})
	d := startDriver(t, exec.Command("valgrind", "--error-exitcode=97", "--leak-check=full", "--show-leak-kinds=definite,indirect",
		"--errors-for-leak-kinds=definite,indirect", "--quiet", b.drive), b.environment())
	d.open("ixcap:"+s.path, "set_timeout 100")
	s.store(300)
	require.Equal(t, "0", d.do("filter 1 ip"))
	require.Equal(t, result(0, s.packets[:200], false), d.do("loop 200"))
	require.Equal(t, "1", d.do("poll 1000"))
	d.do("devices 0")
	d.do("datalinks 0")
	require.Equal(t, "0", d.do("close 0"))
	require.Contains(t, d.do("open_live 96 ixcap:/nonexistent/"), "has no socket")
	d.end()
	require.Empty(t, d.err.String())
}
