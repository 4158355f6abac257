package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// recorded is a device that records its mappings.
type recorded struct {
	pci.Device
	mapper *recorder
}

func (s recorded) DMA() dma.Mapper { return s.mapper }

type recorder struct {
	dma.Mapper
	mem map[string]*hugepage.Memory
	at  map[string]dma.IOVA
}

func (s *recorder) Map(mem *hugepage.Memory, access dma.Access) (dma.IOVA, error) {
	at, err := s.Mapper.Map(mem, access)
	if err == nil {
		s.mem[mem.Name()], s.at[mem.Name()] = mem, at
	}
	return at, err
}

const (
	unmappedFrame = 10 // the descriptor whose address is wrong
	wantFrames    = 40 // frames to receive
	descriptor    = 16 // bytes
)

// unmappedAddress receives with one descriptor that has the physical address of a page of this
// process, which is not mapped for the device. Without an IOMMU the device would write the
// frame there.
func unmappedAddress(dev pci.Device) (err error) {
	s := &recorder{Mapper: dev.DMA(), mem: map[string]*hugepage.Memory{}, at: map[string]dma.IOVA{}}
	port, err := driver.Open(recorded{dev, s}, driver.Config{RingSize: 512, RefillBatch: 1, MaxFrame: 1600})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, port.Close()) }()

	canary, err := hugepage.Alloc(1, hugepage.Options{Pages: hugepage.Size2M, Node: hugepage.AnyNode, Name: "canary"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, canary.Close()) }()
	for i := range canary.Bytes() {
		canary.Bytes()[i] = 0xa5
	}
	before := bytes.Clone(canary.Bytes())
	wrong, err := physical(canary)
	if err != nil {
		return err
	}
	for name, mem := range s.mem {
		if at := uint64(s.at[name]); at <= wrong && wrong < at+uint64(mem.Len()) {
			return fmt.Errorf("the canary's physical address %#x is by chance a device address of %s. Run again", wrong, name)
		}
	}
	descs, bufs := s.mem["rx0-ring"], s.mem["rx0-buffers"]
	if descs == nil || bufs == nil {
		return fmt.Errorf("rx0-ring or rx0-buffers not mapped: %v", s.at)
	}
	right := binary.LittleEndian.Uint64(descs.Bytes()[unmappedFrame*descriptor:])
	binary.LittleEndian.PutUint64(descs.Bytes()[unmappedFrame*descriptor:], wrong)
	fmt.Printf("descriptor %d: address %#x replaced by %#x, which is not mapped\n", unmappedFrame, right, wrong)

	if err := port.Start(); err != nil {
		return err
	}
	frames := make([]ring.Frame, 64)
	got, empty := 0, []int{}
	queue := port.RxQueue(0)
	for deadline := time.Now().Add(time.Minute); got < wantFrames; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d frames of %d after a minute", got, wantFrames)
		}
		for _, f := range frames[:queue.Poll(frames)] {
			if len(bytes.Trim(f.Data, "\x00")) == 0 {
				empty = append(empty, got)
			}
			got++
		}
		queue.Release()
	}
	if err := port.Stop(); err != nil {
		return err
	}
	if !bytes.Equal(before, canary.Bytes()) {
		return errors.New("the page at the wrong address was written")
	}
	fmt.Printf("received %d frames; nothing was written to the buffers of %v; the page at %#x is untouched\n", got, empty, wrong)
	if len(empty) != 1 || empty[0] != unmappedFrame {
		return fmt.Errorf("want an empty buffer %d and no other", unmappedFrame)
	}
	return nil
}

// physical returns the physical address of memory's first page
// (Documentation/admin-guide/mm/pagemap.rst). It needs root.
func physical(mem *hugepage.Memory) (uint64, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page := uint64(os.Getpagesize())
	var b [8]byte
	if _, err := f.ReadAt(b[:], int64(address(mem.Bytes())/page*8)); err != nil {
		return 0, err
	}
	entry := binary.NativeEndian.Uint64(b[:])
	frame := entry & (1<<55 - 1)
	if entry>>63 == 0 || frame == 0 {
		return 0, errors.New("/proc/self/pagemap shows no frame: needs root")
	}
	return frame * page, nil
}
