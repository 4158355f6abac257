package transmit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"time"

	"github.com/ixcap/ixcap/driver"
)

// Source makes the frames to send.
type Source interface {
	// Next goes on to the next frame. It returns its length in bytes, without CRC, and
	// when its first bit is to be sent, in ps since the first frame. ok is false at the
	// end.
	Next() (n int, at int64, ok bool)

	// Write writes the frame to buf, which has its length. It is sent at a time, ns since
	// 1970, as far as that is known.
	Write(buf []byte, at int64)
}

// Config of a Sender.
type Config struct {
	Method Method

	// Rate is the rate that Limiter sets, in bits a second, which count frames with CRC;
	// 0: it follows the schedule, in segments.
	Rate float64

	// Record is the number of frames of which Result.Asked has the times.
	Record int
}

// Result is what a Sender did.
type Result struct {
	Frames  uint64 // of the source
	Bytes   uint64 // without CRC
	Fillers uint64 // frames with a wrong CRC
	Dry     uint64 // times that the line was idle though a frame was due: the program was late
	Elapsed time.Duration
	Asked   []int64 // times of the first frames, ps since the first of all
}

const (
	batch     = 64 // frames of one post
	minFiller = minFrame + lineOverhead
	maxFiller = 1514 + lineOverhead

	// Filler frames before the first frame, in ps: the program gets ahead of the line.
	leadIn = 500_000_000

	// By rate limiter.
	rateLead   = 1024            // frames that are posted first
	rateAhead  = 100_000_000_000 // ps: the most that frames are posted before their time
	leastPause = 200 * time.Microsecond

	// Segments of a schedule, for the rate limiter.
	segmentSpan   = 2_000_000_000 // ps
	segmentFrames = 1024
	sleepOver     = 2 * time.Millisecond
	wakeEarly     = time.Millisecond
)

// stuckTime is how long a device may report no frame as sent. One whose queues hang is reset
// within four seconds, on a machine whose processors are busy within more. Tests change it.
var stuckTime = 30 * time.Second

// Sender sends the frames of a source through one queue of a port.
type Sender struct {
	Config
	port   *Port
	index  int
	q      *driver.TxQueue
	src    Source
	ctx    context.Context
	result Result

	start  time.Time
	zero   int64     // start, ns since 1970
	line   int64     // ps: end of the last frame of the source, by the schedule
	filled int       // buffers that are filled and not posted
	most   int       // of these
	waits  time.Time // since when the ring is full

	// raw has for each buffer where a filler frame's CRC stands in it: other frames
	// count on zeros there.
	raw []uint16
	pos int // buffer of index 0
}

// NewSender returns a sender through a queue of a port. A queue has one sender.
func (p *Port) NewSender(queue int, cfg Config) *Sender {
	q := p.port.TxQueue(queue)
	return &Sender{Config: cfg, port: p, index: queue, q: q, raw: make([]uint16, q.Buffers()), most: batch}
}

// Run sends the frames of a source until its end or ctx is done. It does not wait until
// the device has sent the last ones (Port.Drain).
func (s *Sender) Run(ctx context.Context, src Source) (Result, error) {
	s.src, s.ctx = src, ctx
	s.result = Result{Asked: make([]int64, 0, s.Record)}
	s.begin()
	var err error
	switch s.Method {
	case LineRate:
		err = s.backToBack()
	case Software:
		err = s.bySoftware()
	case Filler:
		err = s.byFillers()
	case Limiter:
		if s.Rate > 0 {
			err = s.byRate()
		} else {
			err = s.bySegments()
		}
	}
	s.most = batch
	if err == nil || ctx.Err() != nil {
		// What is filled counts as sent.
		s.ctx = context.WithoutCancel(ctx)
		err = errors.Join(err, s.post())
	}
	s.result.Elapsed = time.Since(s.start)
	return s.result, err
}

// begin sets the start of the schedule.
func (s *Sender) begin() {
	s.start = time.Now()
	s.zero = s.start.UnixNano()
}

// now is the time since the start in ps.
func (s *Sender) now() int64 { return int64(time.Since(s.start)) * 1000 }

// next goes on to the next frame of the source.
func (s *Sender) next() (n int, at int64, ok bool) {
	if n, at, ok = s.src.Next(); !ok {
		return 0, 0, false
	}
	// What the line cannot do is not asked for.
	at = max(at, s.line)
	s.line = at + int64(WireBytes(n))*s.port.ps
	if len(s.result.Asked) < s.Record {
		s.result.Asked = append(s.result.Asked, at)
	}
	return n, at, true
}

// put writes the frame to the next free buffer. It is sent at a time in ps.
func (s *Sender) put(n int, at int64) error {
	b, err := s.buffer()
	if err != nil {
		return err
	}
	b.Data = b.Data[:n]
	s.src.Write(b.Data, s.zero+at/1000)
	s.filled++
	s.result.Bytes += uint64(n)
	if s.result.Frames++; s.result.Frames%256 == 0 {
		return s.ctx.Err()
	}
	return nil
}

// unput takes back the frame of n bytes that was put last and is not posted.
func (s *Sender) unput(n int) {
	s.filled--
	s.result.Frames--
	s.result.Bytes -= uint64(n)
	s.result.Asked = s.result.Asked[:min(uint64(len(s.result.Asked)), s.result.Frames)]
}

// buffer waits for a free buffer behind those that are filled, for a frame of the source.
func (s *Sender) buffer() (*driver.TxBuffer, error) {
	b, i, err := s.free()
	if err == nil {
		s.restore(b, i)
	}
	return b, err
}

// restore removes the CRC of a filler frame from buffer i.
func (s *Sender) restore(b *driver.TxBuffer, i int) {
	if at := s.raw[i]; at != 0 {
		clear(b.Data[:cap(b.Data)][at : at+4])
		s.raw[i], b.RawCRC = 0, false
	}
}

// free waits for a free buffer behind those that are filled, and returns its number, too.
func (s *Sender) free() (*driver.TxBuffer, int, error) {
	if s.filled == s.most {
		if err := s.post(); err != nil {
			return nil, 0, err
		}
	}
	for spins := 0; s.q.Free() <= s.filled; spins++ {
		if err := s.post(); err != nil {
			return nil, 0, err
		}
		if err := s.wait(spins); err != nil {
			return nil, 0, err
		}
	}
	return s.q.Buffer(s.filled), (s.pos + s.filled) % len(s.raw), nil
}

// wait gives the processor away for a moment. spins counts the waits for one frame.
func (s *Sender) wait(spins int) error {
	if spins%1024 == 1023 {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if err := s.port.dev.Err(); err != nil {
			return err
		}
		if spins == 1023 {
			s.waits = time.Now()
		} else if time.Since(s.waits) > stuckTime && s.port.port.Link().Up {
			return fmt.Errorf("send: the device has reported no frame as sent for %v, although its link is up. Open the port again", stuckTime)
		}
		// A device that hangs is reset by other threads, which need a processor.
		time.Sleep(100 * time.Microsecond)
		return nil
	}
	runtime.Gosched()
	return nil
}

// post posts the filled buffers.
func (s *Sender) post() error {
	for spins := 0; s.filled > 0; spins++ {
		n := s.q.Post(s.filled)
		s.filled -= n
		s.pos = (s.pos + n) % len(s.raw)
		if s.filled > 0 {
			if err := s.wait(spins); err != nil {
				return err
			}
		}
	}
	return nil
}

// until waits until a time in ps since the start.
func (s *Sender) until(at int64) error {
	for spins := 0; ; spins++ {
		left := time.Duration((at - s.now()) / 1000)
		if left <= 0 {
			return nil
		}
		if left > sleepOver {
			select {
			case <-s.ctx.Done():
				return s.ctx.Err()
			case <-time.After(min(left-wakeEarly, time.Second)):
			}
			continue
		}
		if spins%4096 == 4095 {
			if err := s.ctx.Err(); err != nil {
				return err
			}
		}
	}
}

func (s *Sender) backToBack() error {
	for spins := 1; ; spins++ {
		n, at, ok := s.next()
		if !ok {
			return nil
		}
		if err := s.put(n, at); err != nil {
			return err
		}
		if spins == 1 {
			if err := s.post(); err != nil { // the line begins with it
				return err
			}
		}
	}
}

func (s *Sender) bySoftware() error {
	for {
		n, at, ok := s.next()
		if !ok {
			return nil
		}
		early := s.now() < at
		if early {
			if err := s.post(); err != nil {
				return err
			}
		}
		if err := s.put(n, max(at, s.now())); err != nil {
			return err
		}
		if early {
			if err := s.until(at); err != nil {
				s.unput(n) // it is not due
				return err
			}
			if err := s.post(); err != nil {
				return err
			}
		}
	}
}

// byRate has the device space all frames. The program begins with some, and then keeps the
// ring full.
func (s *Sender) byRate() error {
	if _, err := s.port.port.SetTxRate(s.index, s.Rate); err != nil {
		return fmt.Errorf("%w. Choose another rate, or spacing by software", err)
	}
	s.begin()
	s.most = rateLead
	for {
		n, at, ok := s.next()
		if !ok {
			return nil
		}
		if err := s.room(at); err != nil {
			return err
		}
		if err := s.put(n, at); err != nil {
			return err
		}
		if s.filled == s.most {
			if err := s.post(); err != nil {
				return err
			}
			s.most = batch
		}
	}
}

// room waits until a frame that is due at a time may be posted. The kernel takes the
// processor first from programs that never sleep, so it sleeps while the device has
// enough frames.
func (s *Sender) room(at int64) error {
	if early := at - rateAhead; early > s.now() {
		if err := errors.Join(s.post(), s.until(early)); err != nil {
			return err
		}
	}
	for spins := 1023; s.q.Free() <= s.filled; spins += 1024 {
		if err := s.post(); err != nil {
			return err
		}
		posted := time.Duration(float64(s.q.Pending()) * float64(at) / float64(s.result.Frames) / 1000)
		if pause := min(posted/4, time.Millisecond); pause >= leastPause {
			time.Sleep(pause)
		}
		if err := s.wait(spins); err != nil {
			return err
		}
	}
	return nil
}

// byFillers keeps the line busy, with filler frames where no frame is due. The place of
// a frame on the line is exact, to half a filler frame, as long as the line does not run
// dry.
func (s *Sender) byFillers() error {
	place := int64(0) // ps: end of what was posted
	late := false
	for {
		n, at, ok := s.next()
		if !ok {
			return nil
		}
		at += leadIn
		if now := s.now(); now > place && place > 0 {
			place = now // the line ran dry: what is due follows at once
			if !late {
				s.result.Dry++
			}
			late = true
		} else if at > place {
			late = false
		}
		space := int((at - place + s.port.ps/2) / s.port.ps)
		for space*2 >= minFiller {
			size := max(space, minFiller)
			if size > maxFiller {
				if size = maxFiller; space-size < minFiller {
					size = space - minFiller
				}
			}
			if err := s.fill(size - lineOverhead); err != nil {
				return err
			}
			space -= size
			if place == 0 {
				if err := s.post(); err != nil { // the line begins with it
					return err
				}
			}
			place += int64(size) * s.port.ps
		}
		if err := s.put(n, place); err != nil {
			return err
		}
		place += int64(WireBytes(n)) * s.port.ps
	}
}

// fill sends a frame of n bytes with a wrong CRC.
func (s *Sender) fill(n int) error {
	b, i, err := s.free()
	if err != nil {
		return err
	}
	if int(s.raw[i]) != n { // else the buffer has just this frame
		s.restore(b, i)
		b.Data = b.Data[:n+4]
		wrong := ^crc32.ChecksumIEEE(b.Data[:n])
		binary.LittleEndian.PutUint32(b.Data[n:], wrong)
		s.raw[i], b.RawCRC = uint16(n), true
	}
	s.filled++
	s.result.Fillers++
	if s.result.Fillers%1024 == 0 {
		return s.ctx.Err()
	}
	return nil
}

// segment is what is posted at once and spaced by one rate.
type segment struct {
	frames  int
	first   int64   // ps: when its first frame is due
	last    int64   // ... and its last
	bits    float64 // of the frames, with CRC
	before  float64 // ... but the last
	present float64 // rate that is set
}

// bySegments has the device space the frames of a segment evenly. The program posts each
// segment when its first frame is due, at a rate so that its last one is sent in time.
func (s *Sender) bySegments() error {
	var g segment
	s.most = segmentFrames
	for {
		n, at, ok := s.next()
		slow := g.bits*1e12/float64(max(at-g.first, 1)) < s.port.Speed()/1000
		if g.frames > 0 && (!ok || g.frames == segmentFrames || at-g.first > segmentSpan || slow) {
			if err := s.postSegment(&g); err != nil {
				return err
			}
		}
		if !ok {
			return nil
		}
		if g.frames == 0 {
			g.first = at
		}
		g.last, g.before = at, g.bits
		if err := s.put(n, at); err != nil {
			return err
		}
		g.frames++
		g.bits += float64(max(n, minFrame)+4) * 8
	}
}

// postSegment sends a segment and empties it.
func (s *Sender) postSegment(g *segment) error {
	for spins := 0; s.q.Pending() > 0; spins++ {
		if err := s.wait(spins); err != nil {
			return err
		}
	}
	// The rate brings the last frame to its time, even if the segment begins late.
	rate := 0.0
	if left := g.last - max(g.first, s.now()); left > 0 && g.frames > 1 {
		if rate = g.before * 1e12 / float64(left); rate >= s.port.Speed() || rate <= s.port.Speed()/1000 {
			rate = 0
		}
	}
	if rate != g.present {
		if _, err := s.port.port.SetTxRate(s.index, rate); err != nil {
			return err
		}
	}
	if err := s.until(g.first); err != nil {
		return err
	}
	*g = segment{present: rate}
	return s.post()
}
