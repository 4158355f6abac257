package pcapstore

import (
	"github.com/ixcap/ixcap/capture/archive/pcapfile"
	"github.com/ixcap/ixcap/capture/archive/store"
)

// file is one being written. Only the writer uses it.
type file struct {
	*store.File
	size    int64            // bytes that are whole packets, or belong to none
	content content          // of these bytes
	synced  store.Amount     // of these packets, what the disk is known to have
	frames  []pcapfile.Frame // if it is compressed
}

// write writes b after what is there, and returns how much of it was written. The
// file's size stays as it is.
func (f *file) write(b []byte) (int, error) {
	n, err := f.Write(b, f.size)
	f.Dir.AddWrote(n)
	return n, err
}

// append appends what belongs to no packet.
func (f *file) append(b []byte) error {
	n, err := f.write(b)
	if err == nil {
		f.size += int64(n)
	}
	return err
}
