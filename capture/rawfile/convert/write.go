package convert

import (
	"bufio"
	"fmt"
	"io"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ixcap/ixcap/capture/rawfile"
)

// Format is a file format for packets.
type Format string

const (
	Pcap   Format = "pcap"   // libpcap's, with nanoseconds
	Pcapng Format = "pcapng" // with nanoseconds
)

// Writer writes records to a pcap or pcapng file.
type Writer struct {
	out     *bufio.Writer
	ng      *pcapgo.NgWriter // nil for pcap
	packets interface {
		WritePacket(gopacket.CaptureInfo, []byte) error
	}
}

// NewWriter writes the header of a file of the given format to w.
func NewWriter(w io.Writer, format Format) (*Writer, error) {
	out := bufio.NewWriterSize(w, rawfile.Block)
	switch format {
	case Pcap:
		p := pcapgo.NewWriterNanos(out)
		if err := p.WriteFileHeader(rawfile.MaxData, layers.LinkTypeEthernet); err != nil {
			return nil, fmt.Errorf("write pcap header: %w", err)
		}
		return &Writer{out: out, packets: p}, nil
	case Pcapng:
		// A snap length of 0 means no limit; one is known, so say it.
		link := pcapgo.NgInterface{Name: "ixcap", LinkType: layers.LinkTypeEthernet, SnapLength: rawfile.MaxData}
		section := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "ixcap"}}
		p, err := pcapgo.NewNgWriterInterface(out, link, section)
		if err != nil {
			return nil, fmt.Errorf("write pcapng header: %w", err)
		}
		return &Writer{out: out, ng: p, packets: p}, nil
	}
	return nil, fmt.Errorf("format %q: must be %s or %s", format, Pcap, Pcapng)
}

// Write appends one record.
func (w *Writer) Write(r rawfile.Record) error {
	info := gopacket.CaptureInfo{Timestamp: r.Time(), CaptureLength: len(r.Data), Length: int(r.Len)}
	return w.packets.WritePacket(info, r.Data)
}

// Flush writes out what is buffered. It must be called after the last Write.
func (w *Writer) Flush() error {
	if w.ng != nil {
		if err := w.ng.Flush(); err != nil {
			return err
		}
	}
	return w.out.Flush()
}

// Copy writes all records of the RAW file src, and says how many there were.
// An error of src is an *rawfile.Error; what was whole has been written then.
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
