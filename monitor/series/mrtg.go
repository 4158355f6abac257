package series

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Lines writes the files that HPCAP's monitoring has: a line a second, in a folder a week,
// DIR/<year>-<week>/<port>:
//
//	<timestamp> <RX bit/s> <RX packet/s> <lost bit/s> <lost packet/s> <active flows> <new flows>
//
// The timestamp is the start of the second, the year and week are those of ISO 8601. The
// bits of lost packets are estimated from the mean size of the others. A second that is
// missing has no line. The two columns of flows are M3OMon's metric and follow HPCAP's, so
// its readers find theirs in place.
type Lines struct {
	dir, port string
	folder    string // of the open file
	file      *os.File
	mean      float64 // bits of a packet, of the last second with packets
	line      []byte
}

// NewLines returns a writer to a folder, which it creates.
func NewLines(dir, port string) (*Lines, error) {
	if !validName.MatchString(port) {
		return nil, fmt.Errorf("series: name %q of a port: want 1 to 32 letters, digits, _ . -", port)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("series: %w", err)
	}
	return &Lines{dir: dir, port: port}, nil
}

// Add writes the line of a second. After an error the line is not in the file, and the next
// one tries again.
func (l *Lines) Add(p *Point) error {
	if err := l.open(p.Time); err != nil {
		return fmt.Errorf("write series: %w", err)
	}
	n := p.Series[All].Count
	if n.Packets > 0 {
		l.mean = 8 * float64(n.Bytes) / float64(n.Packets)
	}
	b := strconv.AppendInt(l.line[:0], p.Time, 10)
	for _, v := range [...]uint64{8 * n.Bytes, n.Packets, uint64(float64(p.Lost) * l.mean), p.Lost, p.Active, p.New} {
		b = strconv.AppendUint(append(b, ' '), v, 10)
	}
	l.line = append(b, '\n')
	st, err := l.file.Stat()
	if err == nil {
		var n int
		if n, err = l.file.Write(l.line); err != nil && n > 0 {
			err = errors.Join(err, l.file.Truncate(st.Size()))
		}
	}
	if err != nil {
		return fmt.Errorf("write series: %w", errors.Join(err, l.Close()))
	}
	return nil
}

// open opens the file of a time's week.
func (l *Lines) open(at int64) error {
	year, week := time.Unix(at, 0).UTC().ISOWeek()
	folder := fmt.Sprintf("%04d-%02d", year, week)
	if l.file != nil && folder == l.folder {
		return nil
	}
	if err := l.Close(); err != nil {
		return err
	}
	dir := filepath.Join(l.dir, folder)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, l.port), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	l.file, l.folder = f, folder
	return nil
}

// Close closes the file.
func (l *Lines) Close() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}

// Line is a line of such a file. HPCAP's own have no flows.
type Line struct {
	Time                  int64 // seconds since 1970
	Bits, Packets         uint64
	LostBits, LostPackets uint64
	Active, New           uint64
}

// ParseLine parses a line of HPCAP's, with five columns, or of ours, with seven.
func ParseLine(text string) (l Line, err error) {
	columns := strings.Fields(text)
	if len(columns) != 5 && len(columns) != 7 {
		return Line{}, fmt.Errorf("line %q: %d columns: want 5 or 7", text, len(columns))
	}
	if l.Time, err = strconv.ParseInt(columns[0], 10, 64); err != nil {
		return Line{}, fmt.Errorf("line %q: time %q: want seconds since 1970", text, columns[0])
	}
	to := [...]*uint64{&l.Bits, &l.Packets, &l.LostBits, &l.LostPackets, &l.Active, &l.New}
	for i, column := range columns[1:] {
		if *to[i], err = strconv.ParseUint(column, 10, 64); err != nil {
			return Line{}, fmt.Errorf("line %q: column %d, %q: want a whole number", text, i+2, column)
		}
	}
	return l, nil
}
