package server

import (
	"time"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

const (
	strayMax   = 16 // accesses that wait to be told to the client; more are not told
	strayBytes = 64 // of one access
)

// stray is an access by the device to an address that is not mapped for it.
type stray struct {
	iova  uint64
	data  []byte
	write bool
}

// miss remembers an access for tell. The device's thread calls it and does not
// wait: the client may be blocked in a register access whose answer needs the
// device, as a vCPU of QEMU's that holds the lock which QEMU's DMA needs.
func (h *host) miss(iova uint64, p []byte, write bool) {
	s := stray{iova: iova, data: make([]byte, min(len(p), strayBytes, h.limit)), write: write}
	if write {
		copy(s.data, p)
	}
	select {
	case h.stray <- s:
	default:
	}
}

// tell sends the client the accesses that missed, as DMA_READ and DMA_WRITE.
// QEMU carries them out through the guest's IOMMU, which finds no translation
// either and reports the fault to the guest's kernel, as it would for a device
// on a bus. It stops when a client does not answer within the timeout; the
// device loses nothing by it.
func (h *host) tell() {
	answers := true
	for s := range h.stray {
		answers = answers && h.tellOne(s)
	}
}

// tellOne is false when no answer came. Unlike ask it leaves the connection
// alone then, and the request's ID taken, so that a late answer meets nobody.
func (h *host) tellOne(s stray) bool {
	reply := make(chan *proto.Message, 1)
	id, err := h.enter(reply)
	if err != nil {
		return false
	}
	body := proto.DMAAccess{Address: s.iova, Count: uint64(len(s.data))}.Append(make([]byte, 0, proto.DMAAccessSize))
	command, data := proto.DMARead, []byte(nil)
	if s.write {
		command, data = proto.DMAWrite, s.data
	}
	if err := h.conn.Send(proto.Header{ID: id, Command: command}, nil, body, data); err != nil {
		h.abort() // part of a message may be out: the stream is of no use
		return false
	}
	timer := time.NewTimer(h.timeout)
	defer timer.Stop()
	select {
	case m, ok := <-reply:
		if ok {
			h.queue.recycle(m)
		}
		return ok
	case <-timer.C:
		return false
	}
}
