package agent

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Kind is the kind of a frame.
type Kind uint8

// The kinds of frames.
const (
	Hello  Kind = 1 // VM: JSON of Greeting
	Start  Kind = 2 // host: JSON of Job
	Signal Kind = 3 // host: JSON of an int, the signal's number, to the job's process group
	Output Kind = 4 // VM: standard output and error of the job
	Exit   Kind = 5 // VM: JSON of Status
)

const (
	magic      = 0x5a7869a5
	headerSize = 24

	// MaxPayload is the most bytes that one frame carries.
	MaxPayload = 32 << 10
)

// Frame is one message.
type Frame struct {
	Kind    Kind
	Job     uint32
	Payload []byte
}

// Greeting describes the VM.
type Greeting struct {
	Release string // of the kernel, as uname -r prints it
}

// Job is a program to start.
type Job struct {
	Args []string // the program and its arguments
	Env  []string // NAME=value, in addition to the agent's
}

// Status is the result of a job.
type Status struct {
	Code   int    // exit status; 128 + number for a signal, as in a shell
	Signal string `json:",omitempty"` // name of the signal that ended it
	Error  string `json:",omitempty"` // why it could not be started
}

// Append appends the encoded frame to b.
func (f Frame) Append(b []byte) ([]byte, error) {
	if len(f.Payload) > MaxPayload {
		return b, fmt.Errorf("agent frame: payload of %d bytes, want at most %d", len(f.Payload), MaxPayload)
	}
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = append(b, byte(f.Kind), 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, f.Job)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Payload)))
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(f.Payload))
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
	return append(b, f.Payload...), nil
}

// Reader reads frames from a stream.
type Reader struct {
	b       *bufio.Reader
	skipped uint64
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{b: bufio.NewReaderSize(r, headerSize+MaxPayload)}
}

// Skipped returns the number of bytes that were not part of a frame.
func (r *Reader) Skipped() uint64 { return r.skipped }

// Read skips other data and returns the next frame, or the error that ended the stream.
// The caller owns the payload.
func (r *Reader) Read() (Frame, error) {
	for {
		h, err := r.b.Peek(headerSize)
		if err != nil {
			if errors.Is(err, io.EOF) && len(h) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
		length := binary.LittleEndian.Uint32(h[12:])
		if binary.LittleEndian.Uint32(h) != magic ||
			binary.LittleEndian.Uint32(h[20:]) != crc32.ChecksumIEEE(h[:20]) || length > MaxPayload {
			if err := r.skip(1); err != nil {
				return Frame{}, err
			}
			continue
		}
		f := Frame{Kind: Kind(h[4]), Job: binary.LittleEndian.Uint32(h[8:])}
		sum := binary.LittleEndian.Uint32(h[16:])
		whole, err := r.b.Peek(headerSize + int(length))
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
		if crc32.ChecksumIEEE(whole[headerSize:]) != sum {
			if err := r.skip(1); err != nil {
				return Frame{}, err
			}
			continue
		}
		f.Payload = append([]byte(nil), whole[headerSize:]...)
		_, err = r.b.Discard(len(whole))
		return f, err
	}
}

func (r *Reader) skip(n int) error {
	r.skipped += uint64(n)
	_, err := r.b.Discard(n)
	return err
}
