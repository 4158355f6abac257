package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
)

// send sends broadcast frames of an experimental type (IEEE 802 local, 88b5h) with their
// number and a pattern.
func send(dev pci.Device, n int) (err error) {
	port, err := driver.Open(dev, driver.Config{RingSize: 512, TxQueues: 1, MaxFrame: 1600})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, port.Close()) }()
	deadline := time.Now().Add(time.Minute)
	for !port.Link().Up {
		if time.Now().After(deadline) {
			return errors.New("no link after a minute")
		}
		time.Sleep(10 * time.Millisecond)
	}
	q := port.TxQueue(0)
	for i := 0; i < n; {
		if i += q.Send([][]byte{frame(port.MAC(), i)}); time.Now().After(deadline) {
			return fmt.Errorf("%d frames of %d sent after a minute", i, n)
		}
	}
	for q.Pending() > 0 {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d frames still pending", q.Pending())
		}
		time.Sleep(time.Millisecond)
		q.Send(nil)
	}
	s, err := port.Stats()
	if err != nil {
		return err
	}
	fmt.Printf("sent %d frames\n", s.Sent)
	return nil
}

func frame(from []byte, i int) []byte {
	b := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, from...)
	b = append(b, 0x88, 0xb5)
	b = binary.BigEndian.AppendUint32(b, uint32(i))
	for j := range 60 + i%1400 {
		b = append(b, byte(i+j))
	}
	return b
}
