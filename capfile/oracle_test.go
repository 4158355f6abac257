package capfile_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/pcapgo"
	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capfile"
)

// byTcpdump has libpcap read a file, and returns its packets. Its output is pcap in ns.
func byTcpdump(t *testing.T, name string) (list []capfile.Packet) {
	cmd := exec.Command("tcpdump", "-r", name, "--time-stamp-precision=nano", "-w", "-", "-U")
	var out, text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &text
	require.NoError(t, cmd.Run(), "%s: %s", name, &text)
	r, err := pcapgo.NewReader(&out)
	require.NoError(t, err)
	r.SetSnaplen(0)
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			return list
		}
		list = append(list, capfile.Packet{Nano: info.Timestamp.UnixNano(), Len: uint32(info.Length), Data: data})
	}
}

// byTshark has Wireshark read a file: stamp, lengths and interface of each packet.
func byTshark(t *testing.T, name string) (list []string) {
	cmd := exec.Command("tshark", "-n", "-r", name, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len", "-e", "frame.cap_len", "-e", "frame.interface_id")
	var text bytes.Buffer
	cmd.Stderr = &text
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", name, &text)
	for line := range strings.Lines(string(out)) {
		list = append(list, strings.TrimSpace(line))
	}
	return list
}

func needs(t *testing.T, tool string) {
	if _, err := exec.LookPath(tool); err != nil {
		t.Skipf("%s is not installed: make tools installs it", tool)
	}
}

// variants are files that libpcap, or Wireshark, reads.
func variants(t *testing.T) (files map[string][]byte, libpcap map[string]bool) {
	files, libpcap = map[string][]byte{}, map[string]bool{}
	for _, o := range orders {
		for _, magic := range []uint32{0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34, 0x1c0001ac, 0x1c0001ab} {
			for _, version := range [][2]uint16{{2, 0}, {2, 2}, {2, 3}, {2, 4}, {543, 0}} {
				if magic >= 0xa1000000 || version[1] == 4 {
					name := fmt.Sprintf("%v-%08x-%d.%d.pcap", o, magic, version[0], version[1])
					files[name], libpcap[name] = oldFile(o, magic, version[0], version[1]), magic >= 0xa1000000
				}
			}
		}
		for _, unit := range []byte{0, 3, 6, 7, 9, 12, 0x80 | 10, 0x80 | 20, 0x80 | 30, 0x80 | 32} {
			f := newNG(o)
			f.iface(1, 0, f.option(9, unit), f.option(0))
			for i := range uint64(5) {
				f.packet(0, 1000+i*12345678, 60, frame(byte(i), 60), f.option(1, []byte("text")...), f.option(0))
			}
			f.block(4, f.words(0)).block(2, f.words(0, 0, 5000, 61, 99), frame(9, 61)).block(0x80000001, []byte("x"))
			name := fmt.Sprintf("%v-unit-%#x.pcapng", o, unit)
			files[name], libpcap[name] = f.b, true
		}
		// Sections: libpcap and Wireshark read those of one byte order.
		f := newNG(o).iface(1, 0).packet(0, 1, 60, frame(1, 60)).section().iface(1, 0).packet(0, 2, 60, frame(2, 60))
		files[fmt.Sprintf("%v-sections.pcapng", o)], libpcap[fmt.Sprintf("%v-sections.pcapng", o)] = f.b, true
	}
	return files, libpcap
}

func TestLibpcapReadsTheSame(t *testing.T) {
	needs(t, "tcpdump")
	dir := t.TempDir()
	files, libpcap := variants(t)
	n := 0
	for name, file := range files {
		if !libpcap[name] {
			continue
		}
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, file, 0o644))
		got, _ := whole(t, file)
		want := byTcpdump(t, path)
		require.Len(t, got, len(want), name)
		for i := range want {
			require.Equal(t, want[i], capfile.Packet{Nano: got[i].Nano, Len: got[i].Len, Data: got[i].Data}, "%s packet %d", name, i)
		}
		n++
	}
	require.Greater(t, n, 40)
}

func TestWiresharkReadsTheSame(t *testing.T) {
	needs(t, "tshark")
	dir := t.TempDir()
	files, _ := variants(t)
	for _, name := range []string{
		"LittleEndian-1c0001ac-2.4.pcap", "LittleEndian-1c0001ab-2.4.pcap", "BigEndian-1c0001ac-2.4.pcap", "BigEndian-a1b2cd34-2.4.pcap",
		"LittleEndian-unit-0x9.pcapng", "BigEndian-unit-0x94.pcapng", "LittleEndian-sections.pcapng",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, files[name], 0o644))
		list, _ := whole(t, files[name])
		var got []string
		for _, p := range list {
			got = append(got, fmt.Sprintf("%d.%09d\t%d\t%d\t%d", p.Nano/1e9, p.Nano%1e9, p.Len, len(p.Data), p.Interface))
		}
		want := byTshark(t, path)
		for i := range want {
			// It shows no interface of pcap, and numbers those of a section from 0.
			want[i] = strings.Join(append(strings.Split(want[i], "\t")[:3], strconv.Itoa(list[i].Interface)), "\t")
		}
		require.Equal(t, want, got, name)
	}
}

// Real files, if they are beside the checkout.
func TestLibpcapReadsRealFilesTheSame(t *testing.T) {
	needs(t, "tcpdump")
	names, err := filepath.Glob("../../shared/pcaps/*")
	require.NoError(t, err)
	names = append(names, "../testdata/hosts.pcap")
	if len(names) == 1 {
		t.Log("no captures in ../shared/pcaps, beside the checkout: only testdata/hosts.pcap is read")
	}
	for _, name := range names {
		file, err := os.ReadFile(name)
		if err != nil || len(file) > 100<<20 || !strings.Contains(name, "pcap") {
			continue
		}
		got, r, err := all(t, file, capfile.Options{Select: func(*capfile.Interface) bool { return true }})
		if r == nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		require.NoError(t, err, name)
		want := byTcpdump(t, name)
		require.Len(t, got, len(want), name)
		for i := range want {
			if want[i].Nano != got[i].Nano || want[i].Len != got[i].Len || !bytes.Equal(want[i].Data, got[i].Data) {
				t.Fatalf("%s: packet %s: %+v, by libpcap %+v", name, strconv.Itoa(i), got[i], want[i])
			}
		}
	}
}
