package flow

import (
	"math/bits"
	"unsafe"

	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/hugepage"
)

// Sizes of what the table is made of, and the layout of stream.Packet for assembly.
//
//lint:file-ignore U1000 used by locate_amd64.s
const (
	entryBytes  = int(unsafe.Sizeof(entry{}))
	shortBytes  = int(unsafe.Sizeof(short{}))
	bucketBytes = int(unsafe.Sizeof(bucket{}))

	inputBytes = unsafe.Sizeof(stream.Packet{})
	inputData  = unsafe.Offsetof(stream.Packet{}.Data)
	sideBytes  = unsafe.Sizeof(side{})
	sidesAt    = unsafe.Offsetof(entry{}.sides)
	firstAt    = unsafe.Offsetof(head{}.first)
	sizesAt    = unsafe.Offsetof(entry{}.sizes)
	gapsAt     = unsafe.Offsetof(entry{}.gaps)
)

// The layout is that of cache lines.
var (
	_ [448]struct{} = [entryBytes]struct{}{}
	_ [128]struct{} = [shortBytes]struct{}{}
	_ [64]struct{}  = [bucketBytes]struct{}{}
	_ [64]struct{}  = [unsafe.Sizeof(head{})]struct{}{}
	_ [128]struct{} = [sideBytes]struct{}{}
	_ [320]struct{} = [sizesAt]struct{}{}
	_ [384]struct{} = [gapsAt + 8*inLine]struct{}{}
)

// maxLoad is the most of the table that is in use, in percent: half of it at least is 32 bytes
// for a flow with its share of short entries.
const maxLoad = 71

// bucketsFor is the number of buckets for so many flows, a power of two.
func bucketsFor(flows int) int {
	return 1 << bits.Len(uint(max(1, flows*100/(maxLoad*perBucket))))
}

// allocate allocates the table: buckets, entries, short entries, payloads.
func (e *Engine) allocate() error {
	c := &e.config
	n := bucketsFor(c.Flows + c.Short)
	entries, shorts := n*bucketBytes, (c.Flows+1)*entryBytes
	payloads := (c.Short + 1) * shortBytes
	shorts += entries
	payloads += shorts
	size := payloads + (c.Flows+1)*c.payloadSize()
	m, err := hugepage.Alloc(size, hugepage.Options{Pages: c.Pages, Node: c.Node, Name: "flow table"})
	if err != nil {
		return err
	}
	b := m.Bytes()
	e.memory = m
	e.buckets = unsafe.Slice((*bucket)(unsafe.Pointer(&b[0])), n)
	e.entries = unsafe.Slice((*entry)(unsafe.Pointer(&b[entries])), c.Flows+1)
	e.shorts = unsafe.Slice((*short)(unsafe.Pointer(&b[shorts])), c.Short+1)
	e.payloads = b[payloads:size]
	e.mask = uint64(n - 1)
	return nil
}
