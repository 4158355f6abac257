package xdp

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryFrameIsStoredAsSent(t *testing.T) {
	for _, c := range []struct {
		options  string
		mtu      int
		mode     Mode
		untagged bool // the mode loses the tags of a veth
		pieces   bool
	}{
		{"", 1500, Copy, false, false},
		{",mode=copy", 3000, Copy, false, false},
		{"", 9000, Copy, false, true},
		{",mode=generic", 1500, Generic, true, false},
		{",mode=generic", 9000, Generic, true, true},
	} {
		t.Run(fmt.Sprintf("mtu %d%s", c.mtu, c.options), func(t *testing.T) {
			pair(t, c.mtu, 1)
			r := begin(t, "xdp:ixb"+c.options)
			require.Equal(t, c.mode, r.port.Mode())
			require.Equal(t, c.pieces, r.port.sockets[0].rest != nil)
			send := sender(t)
			var sent [][]byte
			for i := range 2000 {
				size := 60 + i%(c.mtu+14-60+1)
				if i%10 == 0 {
					size = c.mtu + 14
				}
				if i%4 == 2 {
					size = max(60, size-8) // a packet socket sends no 802.1ad tag beyond the MTU
				}
				frame := tagged(i, size)
				if c.untagged {
					frame = numbered(i, size)
				}
				send(frame)
				sent = append(sent, frame)
			}
			frames, l := r.stop()
			require.Len(t, frames[0], len(sent))
			for i, want := range sent {
				require.Equal(t, want, frames[0][i], "frame %d", i)
			}
			require.EqualValues(t, len(sent), l.Account.Wire)
			require.EqualValues(t, len(sent), l.Account.Received)
		})
	}
}
