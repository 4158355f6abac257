package server

import (
	"time"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

const (
	unmappedMax   = 16 // accesses that wait for sendUnmapped; more are discarded
	unmappedBytes = 64 // data of one access
)

// unmappedAccess is an access by the device to an address that is not mapped for it.
type unmappedAccess struct {
	iova  uint64
	data  []byte
	write bool
}

// queueUnmapped queues an access for sendUnmapped. The device's thread calls it and
// does not wait for the client, which may be blocked in a register access that
// waits for the device: a vCPU of QEMU then holds the lock that QEMU's DMA needs.
func (h *host) queueUnmapped(iova uint64, p []byte, write bool) {
	s := unmappedAccess{iova: iova, data: make([]byte, min(len(p), unmappedBytes, h.limit)), write: write}
	if write {
		copy(s.data, p)
	}
	select {
	case h.unmapped <- s:
	default:
	}
}

// sendUnmapped sends the queued accesses to the client as DMA_READ and DMA_WRITE.
// QEMU executes them through the VM's emulated IOMMU, which finds no translation and
// reports the fault to the VM's kernel. After one that is not answered within the
// timeout, the rest are discarded.
func (h *host) sendUnmapped() {
	answers := true
	for s := range h.unmapped {
		answers = answers && h.sendOne(s)
	}
}

// sendOne sends one access and reports whether it was answered. If not, the
// connection stays open and the request's ID in use, so that a late reply is
// discarded.
func (h *host) sendOne(s unmappedAccess) bool {
	reply := make(chan *proto.Message, 1)
	id, err := h.register(reply)
	if err != nil {
		return false
	}
	body := proto.DMAAccess{Address: s.iova, Count: uint64(len(s.data))}.Append(make([]byte, 0, proto.DMAAccessSize))
	command, data := proto.DMARead, []byte(nil)
	if s.write {
		command, data = proto.DMAWrite, s.data
	}
	if err := h.conn.Send(proto.Header{ID: id, Command: command}, nil, body, data); err != nil {
		h.abort() // part of a message may be sent: the stream is unusable
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
