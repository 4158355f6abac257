package driver

import (
	"fmt"
	"time"

	"github.com/ixcap/ixcap/driver/internal/reg"
)

// Messages between virtual and physical function: 16 words of 32 bits. The first word
// has the request, in bits 23:16 information of it, and in the answer the result. As in
// Linux' ixgbe_mbx.h, which DPDK's and FreeBSD's drivers follow.
const (
	mailWords = 16

	mailSuccess = 1 << 31
	mailFailure = 1 << 30
	mailCTS     = 1 << 29 // the virtual function may send requests other than mailReset
	mailResult  = mailSuccess | mailFailure | mailCTS
	mailRequest = 0xffff

	mailReset        = 0x01
	mailSetMAC       = 0x02
	mailSetMulticast = 0x03
	mailSetVLAN      = 0x04
	mailSetMaxFrame  = 0x05
	mailSetMACVLAN   = 0x06
	mailNegotiate    = 0x08
	mailQueues       = 0x09 // from version 1.1
	mailRETA         = 0x0a // from 1.2
	mailRSSKey       = 0x0b // from 1.2
	mailXcast        = 0x0c // from 1.2
	mailLinkState    = 0x10 // from 1.2; Linux asks from 1.5 on
	mailControl      = 0x100
)

// mailVersion is a version of the mailbox's messages, as it is negotiated. Its values
// are not in the order of the versions: 1 is 2.0, of Solaris.
type mailVersion uint32

const (
	version10 mailVersion = 0
	version11 mailVersion = 2
	version12 mailVersion = 3
	version13 mailVersion = 4
	version14 mailVersion = 5
	version15 mailVersion = 6
)

// versions are those that both sides know, newest first.
var versions = []mailVersion{version15, version14, version13, version12, version11, version10}

// mailVersionOf returns the version with that name; "" is the newest.
func mailVersionOf(name string) (mailVersion, bool) {
	for _, v := range versions {
		if name == "" || name == v.String() {
			return v, true
		}
	}
	return 0, false
}

func (v mailVersion) String() string { return fmt.Sprintf("1.%d", max(int(v)-1, 0)) }

// Modes of mailXcast: which frames that are not for its addresses a function gets.
const (
	xcastNone         = 0 // broadcast only
	xcastMulti        = 1 // multicast of its hash table
	xcastAllMulticast = 2
	xcastPromiscuous  = 3 // from version 1.3
)

// mail is a message.
type mail [mailWords]uint32

func (m *mail) request() uint32 { return m[0] & mailRequest }
func (m *mail) info() uint32    { return m[0] >> 16 & 0xff }

// mac and setMAC are the address in words 1 and 2.
func (m *mail) mac() []byte {
	return []byte{byte(m[1]), byte(m[1] >> 8), byte(m[1] >> 16), byte(m[1] >> 24), byte(m[2]), byte(m[2] >> 8)}
}

func (m *mail) setMAC(mac []byte) {
	m[1] = uint32(mac[0]) | uint32(mac[1])<<8 | uint32(mac[2])<<16 | uint32(mac[3])<<24
	m[2] = uint32(mac[4]) | uint32(mac[5])<<8
}

// lockTimeout is how long a function may hold its mailbox: from version 1.5 on ixgbevf
// releases it when it sees that its message was read, and a virtual machine may stop
// before that.
const lockTimeout = 100 * time.Millisecond

// lockMail takes the buffer of a function's mailbox within a time, and reports whether it
// could.
func (p *Port) lockMail(function int, limit time.Duration) bool {
	for begin := time.Now(); ; time.Sleep(100 * time.Microsecond) {
		p.store(reg.PFMAILBOX(function), reg.PFMAILBOX_PFU.Mask())
		if reg.PFMAILBOX_PFU.Of(p.load(reg.PFMAILBOX(function))) != 0 {
			return true
		}
		if time.Since(begin) >= limit || p.err() != nil {
			return false
		}
	}
}

// readMail reads and acknowledges a function's message. It does not lock the mailbox:
// the function has written all of it, and may hold the lock until it is read.
func (p *Port) readMail(function int) (m mail) {
	for i := range m {
		m[i] = p.load(reg.PFMBMEM(mailWords*function + i))
	}
	p.store(reg.PFMAILBOX(function), reg.PFMAILBOX_ACK.Mask())
	return m
}

// takeMail takes the buffer of a function's mailbox, also from a function that keeps it: that
// waits for the answer, on a virtual machine that has stopped. It reports whether it could.
func (p *Port) takeMail(function int) bool {
	if p.lockMail(function, lockTimeout) {
		return true
	}
	p.store(reg.PFMAILBOX(function), reg.PFMAILBOX_RVFU.Mask())
	return p.lockMail(function, 0)
}

// writeMail sends a function the first words of a message.
func (p *Port) writeMail(function int, m *mail, words int) {
	if p.takeMail(function) {
		p.putMail(function, m, words)
	}
}

// askReset tells a function that it must reset itself, with the mailbox locked: by a refusal
// without CTS (ixgbevf_check_mac_link_vf). A message of the function that is not read yet
// stays in the buffer, and its answer says the same: it makes the function ready, or has no
// CTS.
func (p *Port) askReset(function int) {
	if p.load(reg.PFMBICR(function/16))>>(function%16)&1 != 0 {
		p.store(reg.PFMAILBOX(function), 0)
		return
	}
	p.putMail(function, &mail{mailControl | mailFailure}, 1)
}

// putMail is writeMail with the mailbox locked.
func (p *Port) putMail(function int, m *mail, words int) {
	for i := range words {
		p.store(reg.PFMBMEM(mailWords*function+i), m[i])
	}
	p.store(reg.PFMAILBOX(function), reg.PFMAILBOX_STS.Mask())
}
