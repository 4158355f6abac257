package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The messages of an attachment, one SOCK_SEQPACKET message each, little-endian,
// as docs/STREAM.md has them. The listener sends a request and, before it closes
// the connection in order, a bye. The stream sends an answer, with three
// descriptors if it grants the request, and a farewell when it lets go a listener.
const (
	requestMagic = 0x3154544150414358 // "XCAPATT1"
	answerMagic  = 0x31534e4150414358 // "XCAPANS1"
	byeMagic     = 0x3145594250414358 // "XCAPBYE1"

	requestBytes = 32 // without the name
	answerBytes  = 64 // without the text
	byeBytes     = 8
	maxText      = 1000
	maxMessage   = answerBytes + maxText + 1
)

// states of an answer
const (
	granted  = 0
	refused  = 1 // text says why
	farewell = 2 // detached, text says why
)

// answer is what the stream sends.
type answer struct {
	state                 uint32
	id                    uint64
	number                uint32
	searching             bool
	dataBytes, ctrlBytes  uint64
	dataPage, controlPage uint32
	text                  string
}

// encodeRequest puts a request into a message.
func encodeRequest(name string, o Options) []byte {
	b := make([]byte, requestBytes, requestBytes+len(name))
	binary.LittleEndian.PutUint64(b, requestMagic)
	binary.LittleEndian.PutUint32(b[8:], version)
	b[12], b[13] = uint8(o.Policy), uint8(o.Start)
	if o.Aligned {
		b[14] = 1
	}
	binary.LittleEndian.PutUint64(b[16:], uint64(o.DetachAfter))
	binary.LittleEndian.PutUint32(b[24:], uint32(len(name)))
	return append(b, name...)
}

// decodeRequest is encodeRequest backwards. What it lets through request.check
// has yet to see.
func decodeRequest(b []byte) (name string, o Options, err error) {
	switch {
	case len(b) < 12 || binary.LittleEndian.Uint64(b) != requestMagic:
		return "", o, errors.New("not a request to attach")
	case binary.LittleEndian.Uint32(b[8:]) != version:
		return "", o, fmt.Errorf("the program speaks version %d, the capture %d; use programs of one release", binary.LittleEndian.Uint32(b[8:]), version)
	case len(b) < requestBytes:
		return "", o, fmt.Errorf("request of %d bytes: it has at least %d", len(b), requestBytes)
	}
	n := binary.LittleEndian.Uint32(b[24:])
	after := binary.LittleEndian.Uint64(b[16:])
	switch {
	case uint64(len(b)) != requestBytes+uint64(n):
		return "", o, fmt.Errorf("request of %d bytes with a name of %d", len(b), n)
	case b[14] > 1 || b[15] != 0 || binary.LittleEndian.Uint32(b[28:]) != 0:
		return "", o, errors.New("request with bits set that have no meaning yet")
	case after > 1<<62:
		return "", o, errors.New("detach-after is longer than 146 years")
	}
	o = Options{Policy: Policy(b[12]), Start: Start(b[13]), Aligned: b[14] == 1, DetachAfter: time.Duration(after)}
	return string(b[requestBytes:]), o, nil
}

// encode puts an answer into a message. A text that is too long is cut.
func (a *answer) encode() []byte {
	text := a.text[:min(len(a.text), maxText)]
	b := make([]byte, answerBytes, answerBytes+len(text))
	binary.LittleEndian.PutUint64(b, answerMagic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], a.state)
	binary.LittleEndian.PutUint64(b[16:], a.id)
	binary.LittleEndian.PutUint32(b[24:], a.number)
	if a.searching {
		b[28] = 1
	}
	binary.LittleEndian.PutUint64(b[32:], a.dataBytes)
	binary.LittleEndian.PutUint64(b[40:], a.ctrlBytes)
	binary.LittleEndian.PutUint32(b[48:], a.dataPage)
	binary.LittleEndian.PutUint32(b[52:], a.controlPage)
	binary.LittleEndian.PutUint32(b[56:], uint32(len(text)))
	return append(b, text...)
}

func decodeAnswer(b []byte) (a answer, err error) {
	switch {
	case len(b) < 16 || binary.LittleEndian.Uint64(b) != answerMagic:
		return a, errors.New("what answers is not a capture")
	case len(b) < answerBytes:
		return a, fmt.Errorf("answer of %d bytes: it has at least %d", len(b), answerBytes)
	}
	a.state = binary.LittleEndian.Uint32(b[12:])
	n := binary.LittleEndian.Uint32(b[56:])
	if n > maxText || uint64(len(b)) != answerBytes+uint64(n) {
		return a, fmt.Errorf("answer of %d bytes with a text of %d", len(b), n)
	}
	a.text = string(bytes.ToValidUTF8(b[answerBytes:], []byte("?")))
	// A refusal is understood whatever version the capture speaks.
	if v := binary.LittleEndian.Uint32(b[8:]); v != version && a.state != refused {
		return a, fmt.Errorf("the capture speaks version %d, this program %d; use programs of one release", v, version)
	}
	a.id = binary.LittleEndian.Uint64(b[16:])
	a.number = binary.LittleEndian.Uint32(b[24:])
	a.searching = b[28] != 0
	a.dataBytes, a.ctrlBytes = binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint64(b[40:])
	a.dataPage, a.controlPage = binary.LittleEndian.Uint32(b[48:]), binary.LittleEndian.Uint32(b[52:])
	return a, nil
}

func bye() []byte { return binary.LittleEndian.AppendUint64(nil, byeMagic) }

func isBye(b []byte) bool { return len(b) == byeBytes && binary.LittleEndian.Uint64(b) == byeMagic }
