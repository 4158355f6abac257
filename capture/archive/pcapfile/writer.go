package pcapfile

import (
	"fmt"
	"io"
)

// Writer writes one file to a stream. It compresses in the caller's goroutine;
// package pcapstore does so in several.
type Writer struct {
	dst        io.Writer
	enc        Encoder
	compressor *Compressor // nil: none
	raw, out   []byte      // encoded, not yet written; compressed
	frames     []Frame
	packets    uint32 // in raw
	first      int64  // stamp of the first of them
	size       int64  // written
	interfaces uint32 // described
}

// NewWriter returns a Writer that compresses with a zstd level; 0 means not at all.
func NewWriter(dst io.Writer, e Encoder, level int) (*Writer, error) {
	if err := e.Format.Check(); err != nil {
		return nil, err
	}
	w := &Writer{dst: dst, enc: e, interfaces: 1}
	if level != 0 {
		c, err := NewCompressor(level, 1)
		if err != nil {
			return nil, err
		}
		w.compressor = c
	}
	w.raw = e.Header(make([]byte, 0, FrameSize+MaxPacket))
	if w.compressor != nil {
		return w, w.Flush() // a frame of its own: SeekTime puts it before another frame
	}
	return w, nil
}

// AddInterface adds an interface, and returns its number for Packet.Interface; 0 is
// that of the Encoder. The snaplen is the Encoder's.
func (w *Writer) AddInterface(i *Interface) uint32 {
	w.raw = w.enc.AddInterface(w.raw, i)
	w.interfaces++
	return w.interfaces - 1
}

// Size returns the length of the file in bytes with what is buffered, if the file is
// not compressed.
func (w *Writer) Size() int64 { return w.size + int64(len(w.raw)) }

// Write appends a packet.
func (w *Writer) Write(p *Packet) error {
	if w.packets == 0 {
		w.first = p.Nano
	}
	w.raw = w.enc.Packet(w.raw, p)
	w.packets++
	if len(w.raw) >= FrameSize {
		return w.Flush()
	}
	return nil
}

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if len(w.raw) == 0 {
		return nil
	}
	b := w.raw
	if w.compressor != nil {
		w.out = w.compressor.Frame(w.out[:0], w.raw)
		b = w.out
		w.frames = append(w.frames, Frame{Compressed: int64(len(b)), Size: int64(len(w.raw)), First: w.first, Packets: w.packets})
	}
	w.raw, w.packets, w.first = w.raw[:0], 0, 0
	return w.put(b)
}

// Close ends the file, with statistics. It does not close the underlying writer.
func (w *Writer) Close(all ...Statistics) error {
	if err := w.Flush(); err != nil {
		return err
	}
	for _, s := range all {
		w.raw = w.enc.Statistics(w.raw, &s)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if w.compressor == nil {
		return nil
	}
	return w.put(AppendTables(nil, w.frames))
}

func (w *Writer) put(b []byte) error {
	n, err := w.dst.Write(b)
	w.size += int64(n)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("write at byte %d: %w", w.size, err)
	}
	return nil
}
