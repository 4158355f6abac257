//go:build !amd64

package fanout

import "github.com/ixcap/ixcap/capture/stream/entry"

func fastRun(entries []entry.Entry, data []byte, mask, others uint64, more bool, t *table, tunnelsUDP bool) int {
	return fastRunGo(entries, data, mask, others, more, t, tunnelsUDP)
}
