package ixcap

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/clock"
	"github.com/ixcap/ixcap/capture/dedup"
	"github.com/ixcap/ixcap/capture/hwfilter"
	"github.com/ixcap/ixcap/capture/ports"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/internal/asynclog"
)

// config is what options set.
type config struct {
	port    ports.Config
	capture capture.Config
	filters hwfilter.Rules
	dirs    []string
	share   string
	err     error

	flushLog func()
}

// An Option changes how Open opens a port.
type Option func(*config)

func settings(options []Option) (*config, error) {
	c := config{flushLog: func() {}}
	for _, option := range options {
		option(&c)
	}
	return &c, c.err
}

func (c *config) fail(err error) { c.err = errors.Join(c.err, err) }

// Queues spreads frames over n receive queues, each with a poller and a stream of
// its own; the default is 1, and for xdp what the interface has. RSS of an 82599 reaches
// queues 0 to 15; the others of its 64 get what PortFilters names.
func Queues(n int) Option { return func(c *config) { c.port.Queues = n } }

// RSS sets the hash that selects a frame's queue on an 82599. The default puts both
// directions of a flow into the same queue.
func RSS(r driver.RSS) Option { return func(c *config) { c.port.RSS = r } }

// OuterVLAN is the EtherType of the outer VLAN tag that all frames have, such as 0x88a8. They
// are spread over the queues by what is behind both tags.
func OuterVLAN(etherType uint16) Option { return func(c *config) { c.port.OuterVLAN = etherType } }

// KeepCRC leaves the CRC of 4 bytes at the end of frames.
func KeepCRC() Option { return func(c *config) { c.port.KeepCRC = true } }

// KeepBad receives bad frames, too: those with a wrong CRC or bad symbols, and runts. The
// packets of listeners have ring.FrameError and, at the end, their CRC.
func KeepBad() Option { return func(c *config) { c.port.KeepBad = true } }

// HardwareClock runs the clock of an 82599, which stamps PTP event messages when they arrive,
// and compares the stamps of these frames with it (Ledger.Clock.Device).
func HardwareClock() Option { return func(c *config) { c.port.Clock = true } }

// Buffer sets the size of each queue's stream in bytes, a power of two; the default
// is 256 MiB.
func Buffer(bytes int) Option { return func(c *config) { c.capture.Buffer = bytes } }

// ZeroCopy leaves frames where an 82599 has put them, in ring-buffer pools, instead of copying
// them to streams: chunks for each queue (R), each of chunkSize packet buffers (M). With 0
// chunks a pool takes the memory that Buffer and the receive buffers take otherwise; a
// chunkSize of 0 is 256. A port that can have no pools copies, and the Logger says why.
// Ledger.Queues tells for how long a pool takes the shortest frames at line rate (Pool.Depth).
func ZeroCopy(chunks, chunkSize int) Option {
	return func(c *config) { c.port.ZeroCopy, c.port.Chunks, c.port.ChunkSize = true, chunks, chunkSize }
}

// SnapLen keeps at most n bytes of each frame; the default is all.
func SnapLen(n int) Option { return func(c *config) { c.capture.SnapLen = n } }

// Count ends Run once n frames are stored, over all queues.
func Count(n uint64) Option { return func(c *config) { c.capture.Count = n } }

// Rules keeps of each frame what the first matching rule says (package
// capture/rules): "(udp and port 53) all; (tcp or sctp) 96; drop".
func Rules(text string) Option {
	return func(c *config) {
		r, err := rules.Parse(text)
		if err != nil {
			c.fail(err)
		}
		c.capture.Rules = r
	}
}

// Filter keeps only frames that match a pcap-filter expression, before they are
// copied. A listener can have a filter of its own: ListenFilter.
func Filter(expression string) Option {
	return func(c *config) {
		r, err := rules.Keep(expression)
		if err != nil {
			c.fail(fmt.Errorf("filter: %w", err))
		}
		c.capture.Rules = r
	}
}

// PortFilters makes an 82599 itself drop frames, or select their queue, before they reach
// memory (package capture/hwfilter): "(udp and src port 4789) drop; (host 192.0.2.1) queue 2".
// What a drop names and the chip cannot compare, software drops before Rules and Filter; the
// Logger says what that is. Ledger.Account.Filtered has what the port drops.
// Capture.SetPortFilters changes the filters.
func PortFilters(text string) Option {
	return func(c *config) {
		r, err := hwfilter.Parse(text)
		if err != nil {
			c.fail(err)
		}
		c.filters = r
	}
}

// Dedup drops duplicates, such as mirror ports make, within a time window; 0 is the
// default of package capture/dedup.
func Dedup(window time.Duration) Option {
	return func(c *config) { c.capture.Dedup = &dedup.Config{Window: window} }
}

// Stamps selects the policy of timestamps: packet, batch, uniform, weighted,
// adaptive or sample=N (package capture/clock); the default is packet.
func Stamps(policy string) Option {
	return func(c *config) {
		p, err := clock.ParsePolicy(policy)
		if err != nil {
			c.fail(err)
		}
		c.capture.Stamps = p
	}
}

// Cores pins each queue's poller to a core.
func Cores(cores ...int) Option { return func(c *config) { c.capture.Cores = cores } }

// Sleep makes pollers sleep until the port interrupts while no frames arrive.
func Sleep() Option {
	return func(c *config) { c.port.Interrupts, c.capture.Idle = driver.QueueInterrupts, capture.IdleSleep }
}

// Logger gets diagnostics: poll gaps that may have cost frames, changes of the link,
// errors of disks. Nothing waits for a logger that blocks: messages are dropped and
// counted then. By default they are discarded.
func Logger(l *slog.Logger) Option {
	return func(c *config) {
		log, flush := asynclog.Wrap(l)
		c.capture.Logger, c.flushLog = log, flush
		c.port.OnEvent = func(e driver.Event) { log.Warn(e.Text) }
		c.port.OnNotice = func(text string) { log.Warn(text) }
	}
}

// Store writes every frame to RAW files in directories, which take turns.
func Store(dirs ...string) Option { return func(c *config) { c.dirs = append(c.dirs, dirs...) } }

// Share serves the streams to other processes (Attach) at DIR/queue0.sock,
// DIR/queue1.sock and so on, for the same user only (mode 0600). There is no control
// socket; package capture/daemon/control serves one for Capture.Engine.
func Share(dir string) Option { return func(c *config) { c.share = dir } }

// listenConfig is what listen options set.
type listenConfig struct {
	stream.Options
	filter *string
}

// A ListenOption changes how a listener attaches.
type ListenOption func(*listenConfig)

// Lossy makes a listener lose frames when it is slow, instead of holding the capture
// back.
func Lossy() ListenOption { return func(o *listenConfig) { o.Policy = stream.Lossy } }

// FromOldest starts at the oldest frame that is still in the stream. By default a
// listener sees what arrives after it has attached.
func FromOldest() ListenOption { return func(o *listenConfig) { o.Start = stream.FromOldest } }

// DetachAfter detaches a lossless listener that has not read for d while frames were
// waiting.
func DetachAfter(d time.Duration) ListenOption { return func(o *listenConfig) { o.DetachAfter = d } }

// ListenFilter gives a listener only packets that match a pcap-filter expression. An
// empty expression is an error.
func ListenFilter(expression string) ListenOption {
	return func(o *listenConfig) { o.filter = &expression }
}

// ListenGroup makes a listener a member of a fan-out group: each frame goes to one member
// of every group. The settings are lines key=value, as "group=1\nmode=hash\nmember=one"
// (docs/STREAM.md, Fan-out groups). A member of several queues' groups has one name in all
// of them, so that it gets both directions of its flows.
func ListenGroup(settings string) ListenOption { return func(o *listenConfig) { o.Fanout = settings } }
