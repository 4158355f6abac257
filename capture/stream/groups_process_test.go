package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/ring"
)

var groupModes = []string{"hash", "lb", "rnd", "cpu", "rollover", "qm", "consistent", "filter"}

func init() { children["member"] = childMember }

const maxLogged = 1 << 22 // frames

// frameLog is a file with the numbers of the frames that a member got. It is mapped, so
// that what a killed process has written is there.
type frameLog []byte

func openLog(name string) (frameLog, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(4 * maxLogged); err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, 4*maxLogged, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// add writes one number, which is stored before it is counted.
func (l frameLog) add(n uint32) {
	count := binary.LittleEndian.Uint32(l)
	binary.LittleEndian.PutUint32(l[4*(count+1):], n)
	binary.LittleEndian.PutUint32(l, count+1)
}

func (l frameLog) numbers() (all []uint32) {
	for i := range binary.LittleEndian.Uint32(l) {
		all = append(all, binary.LittleEndian.Uint32(l[4*(i+1):]))
	}
	return all
}

// childMember is a member of eight groups, of modes of their own, until SIGTERM or the end of
// the stream: member PATH LOG POLICY
func childMember(path string, args []string) error {
	o := Options{}
	if args[1] == "lossy" {
		o.Policy = Lossy
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var readers sync.WaitGroup
	errs := make([]error, len(groupModes))
	for i, mode := range groupModes {
		o.Fanout = fmt.Sprintf("group=%d\nmode=%s\n", i, mode)
		if mode == "filter" {
			o.Fanout += "filter=udp\n"
		}
		l, err := Attach(path, "member", o)
		if err != nil {
			return err
		}
		log, err := openLog(fmt.Sprintf("%s.%d", args[0], i))
		if err != nil {
			return err
		}
		readers.Go(func() {
			for p := range l.Packets(ctx) {
				if !intact(p.Data[udpFilled:], p.Nsec) && !errors.Is(l.checkAttached(), ErrDetached) {
					errs[i] = fmt.Errorf("frame %d is not intact", p.Nsec)
					break
				}
				log.add(p.Nsec)
			}
			if err := l.Err(); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, io.EOF) {
				errs[i] = err
			}
			errs[i] = errors.Join(errs[i], l.Close())
		})
	}
	fmt.Println("ready")
	readers.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

const udpFilled = 24 // bytes before those that fill writes

// udpFrame is a frame of UDP over IPv4; every 50th is of ARP.
func udpFrame(n uint32) *ring.Frame {
	data := make([]byte, 60+n%300+n%512/511*5000)
	fill(data[udpFilled:], n) // addresses and ports follow from the frame's number
	copy(data, []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17})
	if n%50 == 0 {
		copy(data[12:], []byte{8, 6})
	}
	return &ring.Frame{Data: data, Len: uint32(len(data))}
}

// members is a stream with eight groups and the processes that are members of them.
type members struct {
	*feed
	dir   string
	count int

	// How many frames lossy members may have read that were overwritten before their departure
	// was seen: which were their own is not known any more, so they count as overrun.
	unseen uint64
}

func (m *members) store() {
	for range 64 {
		m.appendWait(udpFrame(m.next))
	}
	m.stream.Producer().Publish()
}

func (m *members) until(what string, so func() bool) {
	m.tb.Helper()
	for start := time.Now(); !so(); m.store() {
		require.Less(m.tb, time.Since(start), timeout, what)
		require.Less(m.tb, m.next, uint32(maxLogged-100000), what)
		time.Sleep(50 * time.Microsecond)
	}
}

// stored stores so many more frames.
func (m *members) stored(frames uint32) {
	m.tb.Helper()
	to := m.next + frames
	m.until("frames are stored", func() bool { return m.next >= to })
}

// join starts one more process and stores frames until all its members have joined.
func (m *members) join(args ...string) *child {
	m.tb.Helper()
	c := spawn(m.tb, append([]string{"member", m.server.Path(), filepath.Join(m.dir, fmt.Sprint("log", m.count))}, args...)...)
	m.count++
	m.until("the process is ready", func() bool {
		s, ok := c.printed()
		require.Equal(m.tb, ok, s == "ready", s)
		return ok
	})
	return c
}

// gone stores frames until no listener of a process is attached and all is handed over.
func (m *members) gone(c *child) {
	m.tb.Helper()
	m.until("its members departed", func() bool {
		if _, attached := m.listener(c.cmd.Process.Pid); attached {
			return false
		}
		m.stream.mu.Lock()
		defer m.stream.mu.Unlock()
		return len(m.stream.groups.departures) == 0 && m.stream.groups.handover == nil
	})
}

// detachSoon lets the stream detach the members of a process once they read nothing for a
// moment. It is set only after they were stopped, so that a busy machine detaches no other.
func (m *members) detachSoon(c *child) {
	for _, l := range m.stream.Stats().Listeners {
		if l.PID == c.cmd.Process.Pid {
			require.NoError(m.tb, m.stream.SetPolicy(l.ID, Lossless, 200*time.Millisecond))
		}
	}
}

// newMembers makes a stream without members, with a pool of so many buffers if not 0.
func newMembers(t *testing.T, buffers int) *members {
	f, c := &feed{tb: t}, Config{Size: 4 * Block}
	if buffers > 0 {
		f.device = newDevice(t, buffers)
		c = Config{Pool: f.device.Pool}
	}
	f.stream = newStream(t, c)
	f.server, f.events = serve(t, f.stream, ServerConfig{})
	return &members{feed: f, dir: t.TempDir()}
}

// finish ends the stream, waits for the processes, and checks each group: no frame came
// twice, and as many are missing as its account names.
func (m *members) finish(children ...*child) []GroupStats {
	t := m.tb
	t.Helper()
	m.stored(1000)
	m.stream.Producer().Finish()
	for _, c := range children {
		require.Equal(t, "done", c.line(t))
	}
	require.Eventually(t, func() bool {
		m.stream.mu.Lock()
		defer m.stream.mu.Unlock()
		return len(m.stream.groups.departures) == 0 && m.stream.attached == [MaxListeners]*attachment{}
	}, timeout, tick)
	st := m.stream.Stats()
	require.Len(t, st.Groups, len(groupModes))
	for i, g := range st.Groups {
		sum := g.Sum()
		account := fmt.Sprintf("mode %s: stored %d, unmatched %d, without members %d, handed lost %d, %+v",
			g.Mode, g.Stored, g.Unmatched, g.WithoutMembers, g.HandedLost, sum)
		require.NoError(t, g.Balanced(), account)
		require.Equal(t, groupModes[i], g.Mode)
		got := make([]uint8, m.next)
		read := uint64(0)
		for c := range m.count {
			log, err := openLog(filepath.Join(m.dir, fmt.Sprintf("log%d.%d", c, i)))
			require.NoError(t, err)
			for _, n := range log.numbers() {
				require.Zero(t, got[n], "frame %d comes twice. %s", n, account)
				got[n]++
				read++
			}
			require.NoError(t, unix.Munmap(log))
		}
		missing := g.Stored - read
		require.EqualValues(t, m.next, g.Stored)
		named := g.WithoutMembers + g.Unmatched + sum.Overrun + sum.Unread + sum.InHand + g.HandedLost
		require.LessOrEqual(t, missing, named, account)
		// What a member had in hand, also of a handover, it may have read.
		require.GreaterOrEqual(t, missing+sum.InHand+g.HandedLost+m.unseen, named, account)
		t.Log(account)
	}
	for _, l := range st.RecentDetached {
		require.NoError(t, l.Balanced())
	}
	return st.Groups
}

func TestMembersJoinLeaveDieAndHang(t *testing.T) {
	for name, buffers := range map[string]int{"lossless": 0, "lossy": 0, "lossless in a pool": 2048, "lossy in a pool": 4096} {
		t.Run(name, func(t *testing.T) {
			policy, _, _ := strings.Cut(name, " ")
			m := newMembers(t, buffers)
			if policy == "lossy" {
				m.unseen = 2 * batchSize // two depart while they read
			}
			// By name and by order of joining, the first ones of cpu, qm, rollover and filter
			// depart, too.
			killed := m.join(policy)
			m.stored(1000)
			stopped := m.join(policy)
			m.stored(1000)
			left := m.join(policy)
			m.stored(3000)
			require.NoError(t, killed.cmd.Process.Kill())
			m.gone(killed)
			m.stored(3000)
			require.NoError(t, stopped.cmd.Process.Signal(syscall.SIGSTOP))
			if policy == "lossless" {
				m.detachSoon(stopped)
				m.gone(stopped)
				m.stored(3000)
			} else {
				m.stored(60000) // several times the buffer
			}
			require.NoError(t, stopped.cmd.Process.Signal(syscall.SIGCONT))
			if policy == "lossless" {
				require.Contains(t, stopped.line(t), "read nothing for 200ms")
			}
			last := m.join(policy)
			m.stored(1000)
			require.NoError(t, left.cmd.Process.Signal(syscall.SIGTERM))
			m.gone(left)
			require.Equal(t, "done", left.line(t))
			m.stored(3000)
			children := []*child{last}
			if policy == "lossy" {
				children = append(children, stopped)
			}
			for i, g := range m.finish(children...) {
				sum := g.Sum()
				require.EqualValues(t, 4, g.DepartedMembers)
				require.Equal(t, groupModes[i] == "filter", g.Unmatched > 0)
				if policy == "lossless" {
					require.Zero(t, sum.Overrun+sum.Unread)
					require.LessOrEqual(t, sum.InHand, uint64(1+batchSize))
					require.LessOrEqual(t, g.HandedLost, uint64(1))
				}
			}
			require.Zero(t, m.stream.Stats().CorruptCursors)
		})
	}
}

// Processes die, hang and leave within the handovers of others. IXCAP_DEPARTURES is how
// many, for make crash.
func TestMembersDepartDuringHandovers(t *testing.T) {
	t.Run("copy", func(t *testing.T) { membersDepartDuringHandovers(t, newMembers(t, 0)) })
	t.Run("pool", func(t *testing.T) { membersDepartDuringHandovers(t, newMembers(t, 1024)) })
}

func membersDepartDuringHandovers(t *testing.T, m *members) {
	rounds := 6
	if n, err := strconv.Atoi(os.Getenv("IXCAP_DEPARTURES")); err == nil {
		rounds = n
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var alive []*child
	for range 3 {
		alive = append(alive, m.join("lossless"))
	}
	var stopped []*child
	for range rounds {
		i := r.IntN(len(alive))
		c := alive[i]
		how := []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGTERM}[r.IntN(3)]
		require.NoError(t, c.cmd.Process.Signal(how))
		if how == syscall.SIGSTOP {
			m.detachSoon(c)
			stopped = append(stopped, c)
		}
		m.stored(uint32(r.IntN(3000)))
		alive[i] = m.join("lossless")
	}
	for _, c := range stopped {
		m.gone(c)
		require.NoError(t, c.cmd.Process.Signal(syscall.SIGCONT))
		require.Contains(t, c.line(t), "read nothing for 200ms")
	}
	for _, g := range m.finish(alive...) {
		sum := g.Sum()
		require.Zero(t, sum.Overrun+sum.Unread)
		require.LessOrEqual(t, g.HandedLost, uint64(rounds), "at most the frame that each had in hand")
		require.EqualValues(t, rounds+len(alive), g.DepartedMembers)
	}
	require.Zero(t, m.stream.Stats().CorruptCursors)
}
