package settings

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/pcapfilter"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
	"github.com/ixcap/ixcap/driver"
)

const (
	mib         = 1 << 20
	maxName     = 48 // of a port: what file names have room for
	maxSocket   = 107
	maxFIFO     = 99
	maxInFlight = 64
	maxZstd     = 22
	minRotate   = time.Second
	maxRotate   = 24 * time.Hour
	minFlush    = time.Millisecond
	maxFlush    = time.Minute
)

// Check says what is wrong with values, or with two of them together, without
// looking at the machine.
func (s *Settings) Check() []Problem {
	p := &problems{origin: s.origin}
	if len(s.Ports) == 0 {
		p.add("port", `no port: add a table such as [port.hpcap0] with device = "0000:03:00.0"`)
		return p.sorted()
	}
	capturing := 0
	devices, cores := map[string]string{}, map[int]string{}
	for i := range s.Ports {
		port := &s.Ports[i]
		key := port.key()
		if err := checkName(port.Name); err != nil {
			p.add(key("")[:len(key(""))-1], "%v", err)
		}
		if other, twice := devices[port.Device]; twice && port.Device != "" {
			p.add(key("device"), "device %s: port %s has it already", port.Device, other)
		}
		devices[port.Device] = port.Label()
		if port.Mode == Kernel {
			continue
		}
		capturing++
		port.check(p)
		for _, c := range port.Cores {
			if other, taken := cores[c]; taken && other != port.Label() {
				p.add(key("cores"), "core %d: port %s polls on it already; a poller needs a core of its own", c, other)
			}
			cores[c] = port.Label()
		}
	}
	if capturing == 0 {
		p.add("port", "every port is left to the kernel: give one the mode capture")
	}
	s.checkRetention(p)
	s.checkShare(p)
	if s.Metrics.Listen != "" {
		if err := checkAddress(s.Metrics.Listen); err != nil {
			p.add("metrics.listen", "%v", err)
		}
	}
	return p.sorted()
}

// key makes keys of a port's settings: those of a port without a name, which no
// file has, begin with a dot.
func (p *Port) key() func(string) string {
	return func(own string) string { return "port." + p.Name + "." + own }
}

func checkName(name string) error {
	ok := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
	if len(name) > maxName || !ok || strings.HasPrefix(name, ".") {
		return fmt.Errorf("port name %q: want at most %d letters, digits, '.', '_' and '-', for it is part of file names", name, maxName)
	}
	return nil
}

func (p *Port) check(all *problems) {
	key := p.key()
	bad := func(own, format string, args ...any) { all.add(key(own), format, args...) }
	if p.Device == "" {
		bad("device", `no device: say which port it is, as in device = "0000:03:00.0"`)
	}
	switch {
	case p.Queues < 1:
		bad("queues", "%d queues: want at least 1", p.Queues)
	case p.Queues > driver.MaxQueues:
		bad("queues", "%d queues: the 82599 receives on 1 to %d", p.Queues, driver.MaxQueues)
	}
	if len(p.Cores) != 0 && len(p.Cores) != p.Queues && p.Queues > 0 {
		bad("cores", "%d cores for %d queues: name one for each", len(p.Cores), p.Queues)
	}
	for i, c := range p.Cores {
		if slices.Contains(p.Cores[:i], c) {
			bad("cores", "core %d is named twice: a poller needs a core of its own", c)
		}
	}
	if p.Speed != 0 && p.Speed != 1000 && p.Speed != 10000 {
		bad("speed", "speed %d: want 1000 or 10000 Mb/s, or 0 for what the module can", p.Speed)
	}
	if p.CapLen < 0 || p.CapLen > stream.MaxFrame {
		bad("caplen", "capture length %d: choose 1 to %d bytes, or 0 for whole frames", p.CapLen, stream.MaxFrame)
	}
	switch least := max(2*mib, 2*p.Storage.Block); {
	case p.Buffer < least:
		bad("buffer", "buffer of %v: storing needs at least %v", p.Buffer, least)
	case p.Buffer&(p.Buffer-1) != 0:
		bad("buffer", "buffer of %v: choose a power of two, such as 256MiB or 1GiB", p.Buffer)
	case p.Pages.Size != 0 && p.Buffer%units.Size(p.Pages.Size) != 0:
		bad("buffer", "buffer of %v is no multiple of its %v pages: choose a larger buffer or smaller pages", p.Buffer, &p.Pages)
	}
	if p.FIFO < 0 || p.FIFO > maxFIFO {
		bad("fifo", "SCHED_FIFO priority %d: choose 1 to %d, or 0 for the ordinary policy", p.FIFO, maxFIFO)
	}
	p.Storage.check(p.Queues, func(own, format string, args ...any) { bad("storage."+own, format, args...) })
}

func (s *Storage) check(queues int, bad func(own, format string, args ...any)) {
	switch {
	case len(s.Dirs) == 0 || slices.Contains(s.Dirs, ""):
		bad("dirs", `no folder: name those for the files, or "null" to store nothing`)
	case slices.Contains(s.Dirs, Null) && len(s.Dirs) > 1:
		bad("dirs", `"null" stands for no folder and stands alone; write ./null for a folder of that name`)
	}
	for i, d := range s.Dirs {
		if slices.ContainsFunc(s.Dirs[:i], func(o string) bool { return filepath.Clean(o) == filepath.Clean(d) }) {
			bad("dirs", "folder %s is named twice", d)
		}
	}
	if s.Queue != AllQueues && (s.Queue < 0 || int(s.Queue) >= queues) {
		bad("queue", "queue %d: the port runs with %d, numbered from 0; queues sets how many", s.Queue, queues)
	}
	if s.Format == Raw {
		if s.Zstd != 0 {
			bad("zstd", "zstd: files are compressed in the formats pcap and pcapng only, not in raw")
		}
		if s.StoreFilter != "" {
			bad("store_filter", "store_filter: the formats pcap and pcapng have it; raw files hold what filter keeps")
		}
	}
	if s.Zstd < 0 || s.Zstd > maxZstd {
		bad("zstd", "zstd level %d: choose 1 to %d, or 0 for no compression", s.Zstd, maxZstd)
	}
	if s.StoreFilter != "" {
		if _, err := pcapfilter.Compile(s.StoreFilter); err != nil {
			bad("store_filter", "store_filter: %v", err)
		}
	}
	if s.Segment < mib || s.Segment%mib != 0 {
		bad("segment", "segment of %v: choose a multiple of 1 MiB", s.Segment)
	}
	if !slices.Contains([]units.Size{1 * mib, 2 * mib, 4 * mib}, s.Block) {
		bad("block", "block of %v: choose 1MiB, 2MiB or 4MiB", s.Block)
	}
	if s.InFlight < 1 || s.InFlight > maxInFlight {
		bad("in_flight", "%d blocks in flight: choose 1 to %d", s.InFlight, maxInFlight)
	}
	if s.Flush.Duration() < minFlush || s.Flush.Duration() > maxFlush {
		bad("flush", "flush after %v: choose %v to %v", s.Flush, minFlush, units.Duration(maxFlush))
	}
	if s.Rotate != 0 && (s.Rotate.Duration() < minRotate || s.Rotate.Duration() > maxRotate) {
		bad("rotate", "rotate every %v: choose %v to %v, or 0 to begin files by size only", s.Rotate, minRotate, units.Duration(maxRotate))
	}
}

func (s *Settings) checkRetention(p *problems) {
	r := s.Retention
	if !r.Any() {
		return
	}
	stores := false
	for i := range s.Ports {
		port := &s.Ports[i]
		if !port.Stores() {
			continue
		}
		stores = true
		if seg := port.Storage.Segment; r.Size != 0 && r.Size < seg {
			p.add("retention.size", "retention of %v: one file of %s alone may have %v; keep more, or make segment smaller", r.Size, port.Label(), seg)
		}
	}
	if !stores {
		p.add("retention", "retention: nothing is stored that could be deleted; name folders, or leave retention out")
	}
	if r.Age != 0 && r.Age.Duration() < time.Second {
		p.add("retention.age", "retention for %v: choose at least 1s", r.Age)
	}
}

func (s *Settings) checkShare(p *problems) {
	if s.Share.Dir == "" {
		return
	}
	longest := filepath.Join(s.Share.Dir, "control.sock")
	for i := range s.Ports {
		if path := s.Share.Queue(&s.Ports[i], max(s.Ports[i].Queues-1, 0)); len(path) > len(longest) {
			longest = path
		}
	}
	if len(longest) > maxSocket {
		p.add("share.dir", "share: socket %s has a path of %d bytes, and at most %d fit: choose a shorter folder", longest, len(longest), maxSocket)
	}
}

// Control is the path of the control socket.
func (s Share) Control() string { return filepath.Join(s.Dir, "control.sock") }

// Queue is the path of a queue's socket.
func (s Share) Queue(p *Port, queue int) string {
	name := fmt.Sprintf("queue%d.sock", queue)
	if p.Name != "" {
		name = p.Name + "-" + name
	}
	return filepath.Join(s.Dir, name)
}

func checkAddress(listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("address %q: want HOST:PORT, such as 127.0.0.1:9482, or :9482 for all addresses", listen)
	}
	return nil
}
