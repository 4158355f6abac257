package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// Block is how many bytes of a RAW file one entry describes. To find one packet a
// whole block is read: with 256 KiB instead of the MiB that storers write at once, the
// index is twice as large, and a query for a host with few packets reads a quarter.
const Block = rawfile.Block / 4

// A sidecar, little-endian: header, entries, trailer. The trailer is written when the
// RAW file is closed. Each part ends with its CRC-32C.
//
//	header   8 "IXCAPIDX"  2 version  2 length of the header  4 bytes of a block  4 CRC
//	entry    see Entry.encode
//	trailer  see Trailer.encode
const (
	version    = 1
	headerLen  = 20
	entryLen   = 80 // without sets and CRC
	trailerLen = 80
	crcLen     = 4

	// addrBytes and portBytes limit a block's sets, so that the index is at most 0.75 %
	// of the data.
	addrBytes  = 1024
	portBytes  = 768
	protoBytes = 256 * 9 / 8

	maxEntry = entryLen + addrBytes + portBytes + protoBytes + crcLen
)

var (
	magic      = [8]byte{'I', 'X', 'C', 'A', 'P', 'I', 'D', 'X'}
	endMagic   = [8]byte{0xff, 0xff, 0xff, 0xff, 'I', 'X', 'E', 'N'} // longer than any entry
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	little     = binary.LittleEndian
)

// ErrIndex is wrapped by errors of bytes that are no sidecar, or a damaged one.
var ErrIndex = errors.New("not an index")

// Entry describes the records that begin in one block.
type Entry struct {
	First, End       int64                   // offsets in the file: of the first record, and behind the last one
	Frames           uint32                  // at least 1
	Earliest, Latest int64                   // of their stamps, in ns since 1970
	Head             [rawfile.HeaderLen]byte // header of the first one
	Sum              uint64                  // of all headers
	Backwards        bool                    // a stamp is earlier than the one before it in the file

	addrLevels uint8 // bit l: the set has the addresses' keys of level l; 0: addresses are not known
	addrBits   uint8 // a key is cut to log2(members) + addrBits bits
	portShift  uint8 // lowest bits of ports left out
	addrs      riceSet
	ports      riceSet
	protos     riceSet
}

// seal appends the CRC of out[from:].
func seal(out []byte, from int) []byte {
	return little.AppendUint32(out, crc32.Checksum(out[from:], castagnoli))
}

// sealed reports whether b ends with its CRC.
func sealed(b []byte) bool {
	n := len(b) - crcLen
	return n >= 0 && crc32.Checksum(b[:n], castagnoli) == little.Uint32(b[n:])
}

func appendHeader(out []byte) []byte {
	from := len(out)
	out = append(out, magic[:]...)
	out = little.AppendUint16(out, version)
	out = little.AppendUint16(out, headerLen)
	out = little.AppendUint32(out, Block)
	return seal(out, from)
}

// checkHeader returns an error if b does not begin with the header of a sidecar.
func checkHeader(b []byte) error {
	switch {
	case len(b) < headerLen:
		return fmt.Errorf("%w: cut in its header", ErrIndex)
	case [8]byte(b[:8]) != magic:
		return fmt.Errorf("%w: it begins with other bytes", ErrIndex)
	case little.Uint16(b[8:]) != version:
		return fmt.Errorf("%w: version %d, want %d", ErrIndex, little.Uint16(b[8:]), version)
	case !sealed(b[:headerLen]) || little.Uint32(b[12:]) != Block:
		return fmt.Errorf("%w: its header is damaged", ErrIndex)
	}
	return nil
}

// encode appends the entry:
//
//	 0  4 length of the entry, CRC included    4  4 frames
//	 8  8 first     16  8 end                 24 12 header of the first record
//	36  1 flags (1: backwards)  37  1 levels of addresses  38  1 bits per address  39  1 shift of ports
//	40  8 earliest  48  8 latest              56  8 sum
//	64  2 members of the set of addresses     66  2 its length in bytes
//	68  2 members of the set of ports         70  2 its length in bytes
//	72  2 members of the set of IP protocols  74  2 its length in bytes
//	76  3 k of the sets, in this order        79  1 zero
//	80    addresses, ports, protocols, CRC
func (e *Entry) encode(out []byte) []byte {
	from := len(out)
	out = little.AppendUint32(out, uint32(entryLen+len(e.addrs.b)+len(e.ports.b)+len(e.protos.b)+crcLen))
	out = little.AppendUint32(out, e.Frames)
	out = little.AppendUint64(out, uint64(e.First))
	out = little.AppendUint64(out, uint64(e.End))
	out = append(out, e.Head[:]...)
	var flags uint8
	if e.Backwards {
		flags = 1
	}
	out = append(out, flags, e.addrLevels, e.addrBits, e.portShift)
	out = little.AppendUint64(out, uint64(e.Earliest))
	out = little.AppendUint64(out, uint64(e.Latest))
	out = little.AppendUint64(out, e.Sum)
	out = little.AppendUint16(out, uint16(e.addrs.n))
	out = little.AppendUint16(out, uint16(len(e.addrs.b)))
	out = little.AppendUint16(out, uint16(e.ports.n))
	out = little.AppendUint16(out, uint16(len(e.ports.b)))
	out = little.AppendUint16(out, uint16(e.protos.n))
	out = little.AppendUint16(out, uint16(len(e.protos.b)))
	out = append(out, e.addrs.k, e.ports.k, e.protos.k, 0)
	out = append(out, e.addrs.b...)
	out = append(out, e.ports.b...)
	out = append(out, e.protos.b...)
	return seal(out, from)
}

// decodeEntry decodes the entry at the start of b, and returns its length. The entry's
// sets use b.
func decodeEntry(b []byte) (e Entry, n int, err error) {
	if len(b) < 4 {
		return e, 0, fmt.Errorf("%w: cut", ErrIndex)
	}
	size := little.Uint32(b)
	if size < entryLen+crcLen || size > maxEntry {
		return e, 0, fmt.Errorf("%w: an entry of %d bytes", ErrIndex, size)
	}
	if n = int(size); n > len(b) {
		return e, 0, fmt.Errorf("%w: cut", ErrIndex)
	}
	b = b[:n]
	if !sealed(b) {
		return e, 0, fmt.Errorf("%w: an entry is damaged", ErrIndex)
	}
	e = Entry{
		Frames: little.Uint32(b[4:]), First: int64(little.Uint64(b[8:])), End: int64(little.Uint64(b[16:])),
		Head: [rawfile.HeaderLen]byte(b[24:36]), Backwards: b[36]&1 != 0, addrLevels: b[37], addrBits: b[38], portShift: b[39],
		Earliest: int64(little.Uint64(b[40:])), Latest: int64(little.Uint64(b[48:])), Sum: little.Uint64(b[56:]),
		addrs: riceSet{n: int(little.Uint16(b[64:])), k: b[76]}, ports: riceSet{n: int(little.Uint16(b[68:])), k: b[77]},
		protos: riceSet{n: int(little.Uint16(b[72:])), k: b[78]},
	}
	na, np, nr := int(little.Uint16(b[66:])), int(little.Uint16(b[70:])), int(little.Uint16(b[74:]))
	switch {
	case entryLen+na+np+nr+crcLen != n, e.addrs.k > 32, e.ports.k > 16, e.protos.k > 16, e.addrBits > 32, e.portShift > 16,
		e.First < 0, e.End < e.First+rawfile.HeaderLen, e.End-e.First > Block+rawfile.HeaderLen+rawfile.MaxData,
		e.Frames == 0, int64(e.Frames) > (e.End-e.First)/rawfile.HeaderLen, e.Earliest > e.Latest:
		return e, 0, fmt.Errorf("%w: an entry is inconsistent", ErrIndex)
	}
	b = b[entryLen:]
	e.addrs.b, e.ports.b, e.protos.b = b[:na], b[na:na+np], b[na+np:na+np+nr]
	return e, n, nil
}

// Trailer describes a complete RAW file.
type Trailer struct {
	Length           int64 // of the RAW file in bytes
	Records          int64 // bytes up to the end of its last record
	Frames           uint64
	Earliest, Latest int64  // of their stamps, in ns since 1970; 0 without frames
	Backwards        bool   // stamps go backwards somewhere
	Sum              uint64 // of all records' headers
	Entries          uint32

	// Uncertainty is the longest time between a frame's arrival in host memory and its
	// stamp that the capture could not exclude, in whole microseconds up to 71 minutes;
	// 0: not known.
	Uncertainty time.Duration
}

// encode appends the trailer after size bytes of a sidecar:
//
//	 0  8 mark   8  8 length of the sidecar   16  8 length of the RAW file   24  8 end of its records
//	32  8 frames     40  8 earliest   48  8 latest    56  8 sum
//	64  4 entries    68  1 flags (1: backwards)               69  3 zero
//	72  4 uncertainty of the stamps in us, 0: not known       76  4 CRC
func (t *Trailer) encode(out []byte, size int64) []byte {
	from := len(out)
	out = append(out, endMagic[:]...)
	out = little.AppendUint64(out, uint64(size+trailerLen))
	out = little.AppendUint64(out, uint64(t.Length))
	out = little.AppendUint64(out, uint64(t.Records))
	out = little.AppendUint64(out, t.Frames)
	out = little.AppendUint64(out, uint64(t.Earliest))
	out = little.AppendUint64(out, uint64(t.Latest))
	out = little.AppendUint64(out, t.Sum)
	out = little.AppendUint32(out, t.Entries)
	var flags uint8
	if t.Backwards {
		flags |= 1
	}
	out = append(out, flags, 0, 0, 0)
	us := (t.Uncertainty + time.Microsecond - 1) / time.Microsecond
	out = little.AppendUint32(out, uint32(min(us, math.MaxUint32)))
	return seal(out, from)
}

// decodeTrailer decodes the trailer of a sidecar of size bytes from its last
// trailerLen bytes. ok is false if they are no trailer.
func decodeTrailer(b []byte, size int64) (t Trailer, ok bool) {
	if len(b) != trailerLen || [8]byte(b[:8]) != endMagic || !sealed(b) || int64(little.Uint64(b[8:])) != size {
		return t, false
	}
	t = Trailer{
		Length: int64(little.Uint64(b[16:])), Records: int64(little.Uint64(b[24:])), Frames: little.Uint64(b[32:]),
		Earliest: int64(little.Uint64(b[40:])), Latest: int64(little.Uint64(b[48:])), Sum: little.Uint64(b[56:]),
		Entries: little.Uint32(b[64:]), Backwards: b[68]&1 != 0,
		Uncertainty: time.Duration(little.Uint32(b[72:])) * time.Microsecond,
	}
	ok = t.Length >= 0 && t.Records >= 0 && t.Records <= t.Length && t.Earliest <= t.Latest
	return t, ok
}
