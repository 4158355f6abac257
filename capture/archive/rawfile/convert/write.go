package convert

import (
	"fmt"
	"io"

	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Writer writes records to a pcap or pcapng file.
type Writer struct{ out *pcapfile.Writer }

// NewWriter returns a Writer of a file of the given format. crc: the records' frames end
// in their CRC, which RAW does not say.
func NewWriter(w io.Writer, format pcapfile.Format, crc bool) (*Writer, error) {
	out, err := pcapfile.NewWriter(w, pcapfile.Encoder{Format: format, Interface: pcapfile.Interface{Name: pcapfile.Application, CRC: crc}}, 0)
	if err != nil {
		return nil, err
	}
	return &Writer{out}, nil
}

// Write appends one record.
func (w *Writer) Write(r rawfile.Record) error {
	return w.out.Write(&pcapfile.Packet{Nano: int64(r.Sec)*1e9 + int64(r.Nsec), Len: uint32(r.Len), Data: r.Data})
}

// Flush writes what is buffered. It must be called after the last Write.
func (w *Writer) Flush() error { return w.out.Flush() }

// Copy writes all records of the RAW file src, and returns their number. An error of
// src is an *rawfile.Error; the whole records before it are written.
func (w *Writer) Copy(src io.Reader) (records uint64, err error) {
	r := rawfile.NewReader(src)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return r.Count(), nil
		}
		if err != nil {
			return r.Count(), err
		}
		if err := w.Write(rec); err != nil {
			return r.Count() - 1, fmt.Errorf("write packet: %w", err)
		}
	}
}
