package archive

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Suffixes of stored files.
const (
	Raw    = ".raw"
	Pcap   = ".pcap"
	Pcapng = ".pcapng"
	Zstd   = ".zst"  // after Pcap or Pcapng: compressed
	Part   = ".part" // after all of these: the file is being written, or its writer died
	Cut    = ".cut"  // after all of these: the bytes that a repair cut off
	Index  = ".idx"  // sidecar, in place of Raw

	RawPart = Raw + Part
)

// ProbePrefix starts the name of the temporary files by which package store tests a folder.
const ProbePrefix = ".ixcap-probe-"

// newIndex ends the temporary name of a sidecar that a repair writes.
const newIndex = ".new"

const stampLayout = "20060102T150405"

// stems matches what FileName returns.
var stems = regexp.MustCompile(`^(\d{8}T\d{6}\.\d{9})Z-(.+)-q(\d{2,9})-(\d{6,18})$`)

// FileName returns the name, without folder and suffix, of a file whose first
// record has the stamp first. The names sort in the order of capture, also those
// of several queues in one folder. seq counts the files of a queue; it orders
// files with equal stamps.
func FileName(port string, queue int, first time.Time, seq int) string {
	t := first.UTC()
	return fmt.Sprintf("%s.%09dZ-%s-q%02d-%06d", t.Format(stampLayout), t.Nanosecond(), Label(port), queue, seq)
}

// maxLabel limits the length of Label, so that names fit into what file systems take.
const maxLabel = 48

// Label makes a port's name fit for a file name: it drops the options (after a
// comma) and the folders of a path, and replaces all but letters, digits, '.',
// '_' and '-'.
func Label(port string) string {
	port, _, _ = strings.Cut(port, ",")
	if slash := strings.LastIndexByte(port, '/'); slash >= 0 {
		scheme, _, found := strings.Cut(port, ":")
		if port = port[slash+1:]; found {
			port = scheme + "_" + port
		}
	}
	label := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, port)
	if label == "" {
		label = "port"
	}
	return label[:min(len(label), maxLabel)]
}

// File is a stored file as its name describes it.
type File struct {
	Path    string
	Packets bool      // a packet file: pcap or pcapng of any program, compressed or not; else RAW
	Part    bool      // it has its temporary name
	Port    string    // label of the port; "" if the name does not say
	Queue   int       // -1 if the name does not say
	Seq     int       // number among the queue's files of its run; -1 if the name does not say
	First   time.Time // stamp of the first record by the name; zero if the name does not say
}

// packetSuffix matches the names of packet files: of a storer, of tcpdump with -C
// ("a.pcap1"), of Wireshark, compressed or not.
var packetSuffix = regexp.MustCompile(`(?i)\.(pcap[0-9]*|pcapng|cap)(\.(zst|gz|lz4))?$`)

// ParseName reads the name of a stored file. ok is false if the suffix is neither
// that of a RAW file nor that of a packet file.
func ParseName(path string) (f File, ok bool) {
	f = File{Path: path, Queue: -1, Seq: -1}
	var base, stem string
	base, f.Part = strings.CutSuffix(filepath.Base(path), Part)
	if stem, ok = strings.CutSuffix(base, Raw); !ok {
		f.Packets = packetSuffix.MatchString(base)
		stem = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(base, Zstd), Pcapng), Pcap)
	}
	if s, ours := parseStem(stem); ours {
		f.Port, f.Queue, f.Seq, f.First = s.port, s.queue, s.seq, s.first
	}
	return f, ok || f.Packets
}

// Format returns "raw", or what the name says of a packet file: "pcap" or "pcapng".
func (f File) Format() string {
	switch base := strings.ToLower(filepath.Base(f.Path)); {
	case !f.Packets:
		return Raw[1:]
	case strings.Contains(base, Pcapng):
		return Pcapng[1:]
	}
	return Pcap[1:]
}

// Stored reports whether the name is one that a storer of this module gives.
func (f File) Stored() bool { return f.Seq >= 0 }

// Sidecar returns the path of the file's sidecar.
func (f File) Sidecar() string { return SidecarName(f.Path) }

// SidecarName returns the sidecar's name of a RAW file, closed or not.
func SidecarName(raw string) string {
	if stem, part := strings.CutSuffix(raw, RawPart); part {
		return stem + Index
	}
	return strings.TrimSuffix(raw, Raw) + Index
}

// FinalName returns the name that a file gets when it is closed.
func FinalName(part string) string { return strings.TrimSuffix(part, Part) }

type stem struct {
	port       string
	queue, seq int
	first      time.Time
}

// parseStem reads what FileName made.
func parseStem(text string) (s stem, ok bool) {
	m := stems.FindStringSubmatch(text)
	if m == nil {
		return s, false
	}
	first, err := time.Parse(stampLayout+".000000000", m[1])
	queue, _ := strconv.Atoi(m[3])
	seq, e := strconv.Atoi(m[4])
	return stem{m[2], queue, seq, first}, err == nil && e == nil
}

// Name is the name of a stored file of any format.
type Name struct {
	Stem  string    // as FileName made it
	Final string    // once the file is closed
	First time.Time // stamp of the first record
	Raw   bool      // a RAW file
	Part  bool      // it is its temporary name
}

// ParseStored reads the name, without folder, of a file that a storer of this
// module wrote. ok is false for all other names.
func ParseStored(base string) (n Name, ok bool) {
	n.Final, n.Part = strings.CutSuffix(base, Part)
	stem := strings.TrimSuffix(n.Final, Zstd)
	compressed := stem != n.Final
	for _, suffix := range []string{Raw, Pcap, Pcapng} {
		if n.Stem, ok = strings.CutSuffix(stem, suffix); ok {
			n.Raw = suffix == Raw
			break
		}
	}
	if !ok || n.Raw && compressed {
		return n, false
	}
	s, ok := parseStem(n.Stem)
	n.First = s.first
	return n, ok
}

// Companions returns the names of the files that belong to a file: its sidecar
// and what repairs cut off.
func (n Name) Companions() []string {
	var all []string
	if n.Raw {
		all = append(all, n.Stem+Index)
	}
	if n.Part {
		return append(all, n.Final+Part+Cut)
	}
	return append(all, n.Final+Cut, n.Final+Part+Cut)
}

// ParseSidecar returns the stem of a sidecar's name. ok is false if the name is
// not that of a stored file's sidecar.
func ParseSidecar(base string) (stem string, ok bool) {
	if stem, ok = strings.CutSuffix(base, Index); ok {
		_, ok = parseStem(stem)
	}
	return stem, ok
}

// IsPacketPart reports whether a name is the temporary one of a packet file.
func IsPacketPart(name string) bool {
	name, part := strings.CutSuffix(name, Part)
	name = strings.TrimSuffix(name, Zstd)
	return part && (strings.HasSuffix(name, Pcap) || strings.HasSuffix(name, Pcapng))
}

// TempIndex returns the name under which a repair writes the sidecar name.
func TempIndex(name string) string { return TempIndexPrefix(name) + newIndex[1:] }

// TempIndexPrefix returns the start of the names under which a sidecar is
// written; digits follow.
func TempIndexPrefix(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".")
}

// IsTempIndex reports whether a name is a temporary one of a sidecar.
func IsTempIndex(base string) bool {
	stem, end, ok := strings.Cut(strings.TrimPrefix(base, "."), Index+".")
	_, stored := parseStem(stem)
	number := end != "" && !strings.ContainsFunc(end, func(r rune) bool { return r < '0' || r > '9' })
	return ok && stored && base[0] == '.' && (number || end == newIndex[1:])
}
