package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
)

// sink is a wire that takes what the port sends, and delivers nothing. The frames go to a
// pcap file, "" for none, stamped with the time at which they left the port. Frames with a
// wrong CRC are not in it. The file is made when the port first uses the wire.
type sink struct {
	name string

	mu   sync.Mutex
	file *os.File
	w    *bufio.Writer
	err  error // of a write
}

// open makes the file, once.
func (s *sink) open() error {
	if s.err != nil || s.name == "" || s.file != nil {
		return s.err
	}
	if s.file, s.err = os.Create(s.name); s.err != nil {
		return s.err
	}
	s.w = bufio.NewWriterSize(s.file, 1<<20)
	var head [24]byte
	binary.LittleEndian.PutUint32(head[0:], 0xa1b23c4d) // nanoseconds
	binary.LittleEndian.PutUint16(head[4:], 2)
	binary.LittleEndian.PutUint16(head[6:], 4)
	binary.LittleEndian.PutUint32(head[16:], maxFrame)
	binary.LittleEndian.PutUint32(head[20:], 1) // Ethernet
	_, s.err = s.w.Write(head[:])
	return s.err
}

// Receive implements Wire.
func (s *sink) Receive([]Frame, int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return 0, s.open()
}

// Send implements Wire. The port calls SendAt, which has the time.
func (s *sink) Send(data []byte) error { return s.SendAt(Frame{Data: data}) }

// SendAt implements TimedSender.
func (s *sink) SendAt(f Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil || s.file == nil || f.Damage&BadCRC != 0 {
		return err
	}
	var head [16]byte
	binary.LittleEndian.PutUint32(head[0:], uint32(f.At/1e9))
	binary.LittleEndian.PutUint32(head[4:], uint32(f.At%1e9))
	binary.LittleEndian.PutUint32(head[8:], uint32(len(f.Data)))
	binary.LittleEndian.PutUint32(head[12:], uint32(len(f.Data)))
	if _, s.err = s.w.Write(head[:]); s.err == nil {
		_, s.err = s.w.Write(f.Data)
	}
	return s.err
}

// Up implements Wire.
func (s *sink) Up() bool { return true }

// Close implements Wire.
func (s *sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if errors.Is(s.err, os.ErrClosed) {
		return nil
	}
	err := s.err
	s.err = os.ErrClosed
	if s.file == nil {
		return nil
	}
	if err == nil {
		err = s.w.Flush()
	}
	if err = errors.Join(err, s.file.Close()); err != nil {
		return fmt.Errorf("write the frames sent: %w", err)
	}
	return nil
}
