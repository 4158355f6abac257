//go:build !amd64

package fanout

import "github.com/ixcap/ixcap/capture/stream/entry"

func fastRun(entries []entry.Entry, data []byte, mask, keep, others uint64, t *table, tunnelsUDP bool) int {
	return fastRunGo(entries, data, mask, keep, others, t, tunnelsUDP)
}
