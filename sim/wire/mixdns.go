package wire

import "encoding/binary"

const (
	dnsHeader  = 12
	dnsAnswers = 8 // most of a response
)

// dnsMessages are a query for the A record of www.example.com, and its responses with one
// answer and more. Their identifications are 0.
type dnsMessages struct {
	query     []byte
	responses [dnsAnswers][]byte
	sums      [dnsAnswers + 1]uint64 // of the responses; the last one is the query's
}

func (d *dnsMessages) init() {
	question := "\x03www\x07example\x03com\x00\x00\x01\x00\x01"
	d.query = make([]byte, dnsHeader, 64)
	binary.BigEndian.PutUint16(d.query[2:], 0x0100) // recursion desired
	binary.BigEndian.PutUint16(d.query[4:], 1)
	d.query = append(d.query, question...)
	d.sums[dnsAnswers] = sumWords(0, d.query)
	for i := range d.responses {
		r := append([]byte(nil), d.query...)
		binary.BigEndian.PutUint16(r[2:], 0x8180) // a response, recursion available
		binary.BigEndian.PutUint16(r[6:], uint16(i+1))
		for k := range i + 1 {
			r = append(r, 0xc0, dnsHeader, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 198, 18, 0, byte(k))
		}
		d.responses[i], d.sums[i] = r, sumWords(0, r)
	}
}

func (m *Mix) dnsQuery(kind MixKind, e *mixEnds, serial uint32) {
	m.dnsMessage(kind, e, false, serial, m.dns.query, m.dns.sums[dnsAnswers])
}

func (m *Mix) dnsResponse(e *mixEnds, serial uint32) {
	i := serial % dnsAnswers
	m.dnsMessage(MixDNS, e, true, serial, m.dns.responses[i], m.dns.sums[i])
}

func (m *Mix) dnsMessage(kind MixKind, e *mixEnds, back bool, serial uint32, message []byte, sum uint64) {
	id := uint16(serial)
	p := m.begin(e, back, protoUDP, udpHeader+len(message))
	m.udpHeader(&p, e, back, len(message), sum+uint64(id))
	payload := p.b[p.l4+udpHeader:]
	copy(payload, message)
	binary.BigEndian.PutUint16(payload, id)
	m.finish(&p, kind, p.l4+udpHeader, len(message), len(message))
}
