package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/dma"
	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/hugepage"
	"github.com/ixcap/ixcap/pci"
)

// The last 8 bytes of a descriptor once it is written back (datasheet 7.1.6,
// 7.2.3): the status with DD and EOP, and a received frame's length.
const (
	rxDD, rxEOP = 1 << 0, 1 << 1
	txDD        = 1 << 32
)

// writeBack checks descriptors: DD must be set, and the length, which Linux's driver
// checks.
func writeBack(dev pci.Device) (err error) {
	s := &recorder{Mapper: dev.DMA(), mem: map[string]*hugepage.Memory{}, at: map[string]dma.IOVA{}}
	port, err := driver.Open(recorded{dev, s}, driver.Config{RingSize: 512, TxQueues: 1, MaxFrame: 1600})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, port.Close()) }()
	rx, tx := s.mem["rx0-ring"], s.mem["tx0-ring"]
	if rx == nil || tx == nil {
		return fmt.Errorf("rx0-ring or tx0-ring not mapped: %v", s.at)
	}
	if err := port.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); !port.Link().Up; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("no link after a minute")
		}
	}
	if port.TxQueue(0).Send([][]byte{frame(port.MAC(), 0)}) != 1 {
		return errors.New("the transmit queue has no room for one frame")
	}
	var received, sent uint64 // by the port's counters
	for deadline := time.Now().Add(20 * time.Second); received == 0 || sent == 0; time.Sleep(10 * time.Millisecond) {
		st, err := port.Stats()
		if err != nil {
			return err
		}
		if received, sent = st.Wire, st.Sent; time.Now().After(deadline) {
			return fmt.Errorf("after 20 s the port has received %d frames (GPRC) and sent %d (GPTC), want some of both", received, sent)
		}
	}
	time.Sleep(100 * time.Millisecond) // write-back follows the counter at once
	return errors.Join(receivedBack(rx.Bytes(), received), sentBack(tx.Bytes(), sent))
}

func receivedBack(descriptors []byte, received uint64) error {
	v := binary.LittleEndian.Uint64(descriptors[8:])
	length := v >> 32 & 0xffff
	switch {
	case v == 0:
		return fmt.Errorf("receive descriptors are never written back: the port has received %d frames (GPRC), and descriptor 0 is as the driver wrote it", received)
	case v&rxDD == 0:
		return fmt.Errorf("receive descriptor 0 was written back without DD (status and error %#x, length %d): drivers wait for it", v&0xffffffff, length)
	case v&rxEOP == 0 || length == 0:
		return fmt.Errorf("receive descriptor 0 was written back with status and error %#x and length %d: want EOP and a length", v&0xffffffff, length)
	}
	fmt.Printf("receive descriptor 0: status %#x, length %d\n", v&0xfffff, length)
	return nil
}

func sentBack(descriptors []byte, sent uint64) error {
	for at := 8; at < 3*descriptor; at += descriptor { // a context, perhaps, and the frame
		if v := binary.LittleEndian.Uint64(descriptors[at:]); v&txDD != 0 {
			fmt.Printf("transmit descriptor %d: DD\n", at/descriptor)
			return nil
		}
	}
	return fmt.Errorf("transmit descriptors are never written back: the port has sent %d frames (GPTC), and DD stays clear", sent)
}
