package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The messages of an attachment, one SOCK_SEQPACKET message each, little-endian;
// docs/STREAM.md specifies them. The listener sends a request and, before it closes
// the connection in order, a goodbye. The stream sends an answer, with three
// descriptors if it grants the request, and an answer with the reason when it
// detaches a listener.
const (
	requestMagic = 0x3154544150414358 // "XCAPATT1"
	answerMagic  = 0x31534e4150414358 // "XCAPANS1"
	goodbyeMagic = 0x3145594250414358 // "XCAPBYE1"

	requestBytes = 32 // without name and text
	answerBytes  = 64 // without the text
	goodbyeBytes = 8
	maxText      = 1000
	maxFanout    = 4096 // bytes of a request's text
	noGroup      = 255
	maxMessage   = answerBytes + maxText + 1
)

// The states of an answer.
const (
	granted  = 0
	refused  = 1 // text is the reason
	detached = 2 // text is the reason
)

// answer is what the stream sends.
type answer struct {
	state                 uint32
	id                    uint64
	slot                  uint32
	searching             bool
	group, member         uint8 // slot of its group, or noGroup; number in it
	dataBytes, ctrlBytes  uint64
	dataPage, controlPage uint32
	text                  string
}

// encodeRequest encodes a request.
func encodeRequest(name string, o Options) []byte {
	b := make([]byte, requestBytes, requestBytes+len(name)+len(o.Fanout))
	binary.LittleEndian.PutUint64(b, requestMagic)
	binary.LittleEndian.PutUint32(b[8:], version)
	b[12], b[13] = uint8(o.Policy), uint8(o.Start)
	if o.Aligned {
		b[14] = 1
	}
	binary.LittleEndian.PutUint64(b[16:], uint64(o.DetachAfter))
	binary.LittleEndian.PutUint32(b[24:], uint32(len(name)))
	binary.LittleEndian.PutUint32(b[28:], uint32(len(o.Fanout)))
	return append(append(b, name...), o.Fanout...)
}

// decodeRequest decodes a request. It checks the encoding only; request.check
// checks the values.
func decodeRequest(b []byte) (name string, o Options, err error) {
	switch {
	case len(b) < 12 || binary.LittleEndian.Uint64(b) != requestMagic:
		return "", o, errors.New("not a request to attach")
	case binary.LittleEndian.Uint32(b[8:]) != version:
		return "", o, fmt.Errorf("protocol version %d, the capture has %d. Use programs of one release", binary.LittleEndian.Uint32(b[8:]), version)
	case len(b) < requestBytes:
		return "", o, fmt.Errorf("request of %d bytes: at least %d are needed", len(b), requestBytes)
	}
	n, text := binary.LittleEndian.Uint32(b[24:]), binary.LittleEndian.Uint32(b[28:])
	after := binary.LittleEndian.Uint64(b[16:])
	switch {
	case uint64(len(b)) != requestBytes+uint64(n)+uint64(text):
		return "", o, fmt.Errorf("request of %d bytes with a name of %d and a text of %d", len(b), n, text)
	case b[14] > 1 || b[15] != 0:
		return "", o, errors.New("reserved bits are set")
	case after > 1<<62:
		return "", o, errors.New("detach-after is longer than 146 years")
	}
	o = Options{Policy: Policy(b[12]), Start: Start(b[13]), Aligned: b[14] == 1, DetachAfter: time.Duration(after)}
	b = b[requestBytes:]
	o.Fanout = string(b[n:])
	return string(b[:n]), o, nil
}

// encode encodes an answer. It cuts a text that is too long.
func (a *answer) encode() []byte {
	text := a.text[:min(len(a.text), maxText)]
	b := make([]byte, answerBytes, answerBytes+len(text))
	binary.LittleEndian.PutUint64(b, answerMagic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], a.state)
	binary.LittleEndian.PutUint64(b[16:], a.id)
	binary.LittleEndian.PutUint32(b[24:], a.slot)
	if a.searching {
		b[28] = 1
	}
	b[29], b[30] = a.group, a.member
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
		return a, errors.New("the server is no capture")
	case len(b) < answerBytes:
		return a, fmt.Errorf("answer of %d bytes: at least %d are needed", len(b), answerBytes)
	}
	a.state = binary.LittleEndian.Uint32(b[12:])
	n := binary.LittleEndian.Uint32(b[56:])
	if n > maxText || uint64(len(b)) != answerBytes+uint64(n) {
		return a, fmt.Errorf("answer of %d bytes with a text of %d", len(b), n)
	}
	a.text = string(bytes.ToValidUTF8(b[answerBytes:], []byte("?")))
	// Refusals are the same in all versions.
	if v := binary.LittleEndian.Uint32(b[8:]); v != version && a.state != refused {
		return a, fmt.Errorf("protocol version %d, this program has %d. Use programs of one release", v, version)
	}
	a.id = binary.LittleEndian.Uint64(b[16:])
	a.slot = binary.LittleEndian.Uint32(b[24:])
	a.searching, a.group, a.member = b[28] != 0, b[29], b[30]
	a.dataBytes, a.ctrlBytes = binary.LittleEndian.Uint64(b[32:]), binary.LittleEndian.Uint64(b[40:])
	a.dataPage, a.controlPage = binary.LittleEndian.Uint32(b[48:]), binary.LittleEndian.Uint32(b[52:])
	return a, nil
}

func goodbye() []byte { return binary.LittleEndian.AppendUint64(nil, goodbyeMagic) }

func isGoodbye(b []byte) bool {
	return len(b) == goodbyeBytes && binary.LittleEndian.Uint64(b) == goodbyeMagic
}
