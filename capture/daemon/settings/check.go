package settings

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/capture/units"
)

const (
	maxName   = 48  // bytes of a port's name, which is part of file names
	maxSocket = 107 // bytes of a UNIX socket's path

	maxAwaited = stream.MaxListeners - 1 // listeners of other processes: the storer is one, too
)

// Check returns what is wrong with values, alone or together, without asking the
// machine.
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
			p.add("port."+port.Name, "%v", err)
		}
		if other, twice := devices[port.Device]; twice && port.Device != "" {
			p.add(key("device"), "%s: port %s has it already", port.Device, other)
		}
		devices[port.Device] = port.Label()
		if port.Mode == Kernel {
			continue
		}
		capturing++
		port.check(p)
		for _, c := range port.Cores {
			if other, taken := cores[c]; taken && other != port.Label() {
				p.add(key("cores"), "core %d: port %s polls on it already; each poller needs a core of its own", c, other)
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

// key makes the keys of a port's settings: port.NAME.KEY.
func (p *Port) key() func(string) string {
	return func(own string) string { return "port." + p.Name + "." + own }
}

func checkName(name string) error {
	ok := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
	if len(name) > maxName || !ok || strings.HasPrefix(name, ".") {
		return fmt.Errorf("name %q: must be at most %d letters, digits, '.', '_' and '-', because it is part of file names", name, maxName)
	}
	return nil
}

// check adds what is wrong with a port. Limits are checked by their owners: the
// driver, the stream, the scheduler.
func (p *Port) check(all *problems) {
	key := p.key()
	bad := func(own, format string, args ...any) { all.add(key(own), format, args...) }
	limits := ports.CapabilitiesOf(p.Device)
	if p.Device == "" {
		bad("device", `no device: set the port's address or interface, as in device = "0000:03:00.0"`)
	}
	if p.Queues < 0 || p.Queues > limits.MaxQueues {
		why := "the receive queues of " + limits.Name
		if p.Queues > 0 && limits.MaxReason != "" {
			why += ": " + limits.MaxReason
		}
		bad("queues", "%d: must be 1 to %d, %s", p.Queues, limits.MaxQueues, why)
	}
	queues := cmp.Or(p.Queues, limits.Queues)
	if len(p.Cores) != 0 && len(p.Cores) != queues && queues > 0 {
		bad("cores", "%d for %d: list one core for each queue", len(p.Cores), queues)
	}
	for i, c := range p.Cores {
		if slices.Contains(p.Cores[:i], c) {
			bad("cores", "core %d is listed twice: each poller needs a core of its own", c)
		}
	}
	switch {
	case p.Speed == 0 || slices.Contains(limits.Speeds, p.Speed):
	case len(limits.Speeds) == 0:
		bad("speed", "%d: only an 82599 is set to a speed; use ethtool -s", p.Speed)
	default:
		bad("speed", "%d: must be one of %v Mb/s, or 0 for the module's fastest", p.Speed, limits.Speeds)
	}
	for key, set := range map[string]bool{"any_module": p.AnyModule, "negotiate": p.Negotiate, "crc": p.CRC, "hardware_clock": p.HardwareClock, "bad_frames": p.BadFrames, "outer_vlan": p.OuterVLAN != 0, "rss": p.RSS.Fields != 0, "vfs": len(p.VFs) > 0} {
		if set && len(limits.Speeds) == 0 {
			bad(key, "only an 82599 has it")
		}
	}
	if v := p.OuterVLAN; v != 0 && (v < 0x600 || v > 0xffff) {
		bad("outer_vlan", "%#x: must be an EtherType such as 0x88a8, or 0 for none", v)
	}
	if p.KeepsCRC() && p.Dedup.Config != nil && p.Dedup.Ignore != 0 {
		bad("dedup", "ignore=%v: copies that differ have different CRCs, which crc and bad_frames keep: leave one of them out", p.Dedup.Ignore)
	}
	if p.Filters.Any() {
		if len(limits.Speeds) == 0 {
			bad("port_filters", "only an 82599 has filters: use rules")
		} else if _, err := p.PlanFilters(); err != nil {
			bad("port_filters", "%v", err)
		}
	}
	p.checkFunctions(bad)
	p.checkPools(bad)
	if p.SnapLen < 0 || p.SnapLen > stream.MaxFrame {
		bad("snaplen", "%d: must be 1 to %d bytes, or 0 for whole frames", p.SnapLen, stream.MaxFrame)
	}
	if least := max(2*units.MiB, 2*p.Storage.Block); p.Buffer < least {
		bad("buffer", "%v: must be at least %v", p.Buffer, least)
	} else if err := (stream.Config{Size: int(p.Buffer), Pages: p.Pages.Size}).Check(); err != nil {
		bad("buffer", "%v", err)
	}
	if p.FIFO < 0 || p.FIFO > sched.MaxFIFO {
		bad("fifo", "%d: must be a SCHED_FIFO priority of 1 to %d, or 0 for the ordinary policy", p.FIFO, sched.MaxFIFO)
	}
	p.Storage.check(queues, func(own, format string, args ...any) { bad("storage."+own, format, args...) })
}

// checkPools calls bad with what is wrong with ring-buffer pools. A port of the kernel, which has
// none, copies and says so.
func (p *Port) checkPools(bad func(own, format string, args ...any)) {
	for key, n := range map[string]int{"chunks": p.Chunks, "chunk_size": p.ChunkSize} {
		if n != 0 && !p.ZeroCopy {
			bad(key, "%d: for the pools of zero_copy alone: set that, too", n)
		}
	}
	const fewest = 2
	c := nic.Config{Chunks: fewest, ChunkSize: p.ChunkSize}
	if err := nic.CheckPools(c); err != nil {
		bad("chunk_size", "%v", err)
		return
	}
	if c.Chunks = p.Chunks; c.Chunks != 0 {
		if err := nic.CheckPools(c); err != nil {
			bad("chunks", "%v", err)
		}
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
			p.add("retention.size", "%v: one file of %s may have %v; keep more, or set a smaller segment", r.Size, port.Label(), seg)
		}
	}
	if !stores {
		p.add("retention", "nothing is stored: set folders, or remove [retention]")
	}
	if r.Files < 0 {
		p.add("retention.files", "%d: must be at least 1, or 0 for no limit", r.Files)
	}
	if r.Age != 0 && r.Age.Duration() < time.Second {
		p.add("retention.age", "%v: must be at least 1s, or 0 for no limit", r.Age)
	}
}

func (s *Settings) checkShare(p *problems) {
	if n := s.Share.WaitListeners; n < 0 || n > maxAwaited {
		p.add("share.wait_listeners", "%d: must be 0 to %d listeners of a queue", n, maxAwaited)
	} else if n > 0 && s.Share.Dir == "" {
		p.add("share.wait_listeners", "%d: no listener can attach: set the folder of the sockets, too", n)
	}
	if s.Share.Dir == "" {
		return
	}
	longest := s.Share.Control()
	for i := range s.Ports {
		if path := s.Share.Queue(&s.Ports[i], max(s.Ports[i].Queues-1, 0)); len(path) > len(longest) {
			longest = path
		}
	}
	if len(longest) > maxSocket {
		p.add("share.dir", "socket %s: %d bytes of path, at most %d fit: choose a shorter folder", longest, len(longest), maxSocket)
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
		return fmt.Errorf("address %q: must be HOST:PORT, such as 127.0.0.1:9482, or :9482 for all addresses", listen)
	}
	return nil
}

// errEmpty is the error of a value without content.
var errEmpty = errors.New(`empty: remove the key, or write "none"`)
