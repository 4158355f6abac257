package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/ixcap/ixcap/driver"
	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/ring"
)

// What offload sends, from 198.51.100.2 to 198.51.100.1.
const (
	datagrams   = 20 // of UDP, 1000 bytes of payload
	tagged      = 5  // the same with the tag of VLAN 7
	streams     = 10 // packets of TCP, to be cut
	streamBytes = 8000
	mss         = 1400
)

// offload sends packets whose checksums, tags and segments the device makes, at 100 Mb/s
// by its rate limiter, with head write-back.
func offload(dev pci.Device, to net.HardwareAddr) (err error) {
	port, err := driver.Open(dev, driver.Config{RingSize: 512, TxQueues: 1, TxBufferSize: 8192, HeadWriteBack: true})
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
	if _, err := port.SetTxRate(0, 100e6); err != nil {
		return err
	}
	q := port.TxQueue(0)
	for i := range datagrams + tagged + streams {
		o := &driver.TxOffload{MACLen: 14, IPLen: 20, L4Len: 8, IPChecksum: true, L4Checksum: true}
		payload := 1000
		switch {
		case i >= datagrams+tagged:
			o.L4, o.L4Len, o.MSS, payload = ring.L4TCP, 20, mss, streamBytes
		case i >= datagrams:
			o.InsertVLAN, o.VLAN = true, 7
		}
		p, err := withoutChecksums(port.MAC(), to, o.L4 == ring.L4TCP, uint32(i)*streamBytes, payload)
		if err != nil {
			return err
		}
		if err := o.Prepare(p); err != nil {
			return err
		}
		b := q.Buffer(0) // the ring has room for all
		b.Data, b.Offload = b.Data[:len(p)], o
		copy(b.Data, p)
		q.Post(1)
	}
	for q.Pending() > 0 {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d descriptors still pending", q.Pending())
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Println("sent all packets")
	return nil
}

func withoutChecksums(from, to net.HardwareAddr, tcp bool, seq uint32, payload int) ([]byte, error) {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{198, 51, 100, 2}, DstIP: net.IP{198, 51, 100, 1}}
	var l4 gopacket.SerializableLayer = &layers.UDP{SrcPort: 1000, DstPort: 9}
	if tcp {
		ip.Protocol = layers.IPProtocolTCP
		l4 = &layers.TCP{SrcPort: 1000, DstPort: 9, Seq: seq, ACK: true, Window: 1000}
	}
	body := make(gopacket.Payload, payload)
	for i := range body {
		body[i] = byte(i * 7)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true},
		&layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}, ip, l4, body)
	return b.Bytes(), err
}
