package index

import "testing"

// sidecarOf returns the sidecar of a RAW file's bytes, written in pieces of a length.
func sidecarOf(t testing.TB, raw []byte, piece int) []byte {
	b := NewBuilder()
	var out []byte
	for off := 0; off < len(raw); off += piece {
		if _, err := b.Write(raw[off:min(off+piece, len(raw))]); err != nil {
			break
		}
		out = append(out, b.Encoded()...)
	}
	return append(out, b.Finish(int64(len(raw)))...)
}
