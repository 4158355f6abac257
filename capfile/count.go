package capfile

import (
	"fmt"
	"slices"
)

// Cause is why a packet was left out or changed, or a block skipped.
type Cause uint8

const (
	// The packet is left out.
	NotEthernet Cause = iota // its interface has another link type
	NoInterface              // its interface is not described in the file
	Damaged                  // its block, or record, is not valid
	StampRange               // an int64 of ns does not hold its stamp, or the reader's caller does not
	TooLong                  // longer than the reader's caller can hold

	// The packet is delivered, or its interface is not among those asked for.
	NoStamp        // a simple packet block: Nano is 0
	LongFraction   // a fraction of a second or more, which is added to the seconds
	CapturedExcess // more bytes captured than the packet had: Len is raised
	FCSRemoved
	FCSKept
	NotSelected // Options.Select does not choose its interface

	// Not a packet.
	BadOptions // those of an interface are not valid: none is used
	UnknownBlock
	TrailingBytes // behind the compressed data
	causes
)

var causeText = [causes]string{
	NotEthernet:    "left out",
	NoInterface:    "left out, of an interface that the file does not describe",
	Damaged:        "left out, damaged",
	StampRange:     "left out, stamped out of range",
	TooLong:        "left out, too long for the output",
	NoStamp:        "without a stamp, which becomes 0",
	LongFraction:   "with a fraction of a second that is a second or more, added",
	CapturedExcess: "with more bytes captured than on the wire, all kept",
	FCSRemoved:     "with a frame check sequence, removed",
	FCSKept:        "with a frame check sequence, kept as payload",
	NotSelected:    "not selected",
	BadOptions:     "with damaged options, which are not used",
	UnknownBlock:   "skipped",
	TrailingBytes:  "behind the compressed data, skipped",
}

// LeftOut reports whether packets with this cause are not delivered.
func (c Cause) LeftOut() bool { return c <= TooLong }

// stops reports whether Options.Strict makes an error of the cause.
func (c Cause) stops() bool { return c <= CapturedExcess || c == BadOptions }

// Count is the number of packets, interfaces, blocks or bytes with one cause.
type Count struct {
	Cause  Cause
	Number int // of the interface (NotEthernet, NotSelected, FCSRemoved, FCSKept, BadOptions), of the block type (UnknownBlock); else 0
	N      uint64
	First  uint64 // number of the first packet in the file, from 1; of a block, that of the packet before
	Detail string // about the first, or about the interface; ""
}

// String returns a line: "1 packet left out: interface 1 has link type 101 (raw IP).
// First: packet 2".
func (c Count) String() string {
	noun := "packet"
	switch c.Cause {
	case BadOptions:
		noun = "interface"
	case UnknownBlock:
		noun = "block"
	case TrailingBytes:
		noun = "byte"
	}
	if c.N != 1 {
		noun += "s"
	}
	s := fmt.Sprintf("%d %s %s", c.N, noun, causeText[c.Cause])
	if c.Detail != "" {
		s += ": " + c.Detail
	}
	if c.Cause >= BadOptions {
		return s
	}
	return s + fmt.Sprintf(". First: packet %d", c.First)
}

// maxCounts limits the number of different counts, against files with many block types.
const maxCounts = 1024

// tally holds the counts.
type tally struct {
	list []Count
	at   map[tallyKey]int // index in list
}

type tallyKey struct {
	cause  Cause
	number int
}

func (t *tally) add(c Cause, number int, packet uint64, detail func() string) *Count {
	if i, ok := t.at[tallyKey{c, number}]; ok {
		t.list[i].N++
		return &t.list[i]
	}
	if len(t.list) >= maxCounts {
		number = -1
		if i, ok := t.at[tallyKey{c, number}]; ok {
			t.list[i].N++
			return &t.list[i]
		}
		detail = func() string { return "of further kinds" }
	}
	if t.at == nil {
		t.at = map[tallyKey]int{}
	}
	one := Count{Cause: c, Number: number, N: 1, First: packet}
	if detail != nil {
		one.Detail = detail()
	}
	t.at[tallyKey{c, number}] = len(t.list)
	t.list = append(t.list, one)
	return &t.list[len(t.list)-1]
}

// Counts returns what was left out or changed so far, in the order of the first
// occurrence.
func (r *Reader) Counts() []Count { return slices.Clone(r.tally.list) }

// LeftOut returns the number of packets left out so far.
func (r *Reader) LeftOut() (n uint64) {
	for _, c := range r.tally.list {
		if c.Cause.LeftOut() {
			n += c.N
		}
	}
	return n
}

// LeaveOut counts a delivered packet that the caller cannot keep. The error is that of
// Options.Strict.
func (r *Reader) LeaveOut(c Cause, p *Packet, detail string) error {
	if err := r.count(c, 0, p.Number, func() string { return detail }); err != nil {
		return err
	}
	r.delivered--
	return nil
}

// count counts a packet, and returns an error if Options.Strict makes one of it.
func (r *Reader) count(c Cause, number int, packet uint64, detail func() string) error {
	one := r.tally.add(c, number, packet, detail)
	if !r.options.Strict || !c.stops() {
		return nil
	}
	return &StrictError{*one}
}

// StrictError is the error of a packet that Options.Strict does not accept.
type StrictError struct{ Count Count }

func (e *StrictError) Error() string { return "strict: " + e.Count.String() }
