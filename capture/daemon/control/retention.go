package control

import (
	"maps"
	"slices"

	"github.com/ixcap/ixcap/capture/archive/retain"
)

// Retention is what retention has done with the stored files of all ports since the
// start.
type Retention struct {
	Removed        []Removed         `json:"removed"`                  // by the limit that they exceeded
	OpenFiles      uint64            `json:"open_files"`               // deleted, and now open in a reader
	OpenBytes      uint64            `json:"open_bytes"`               // of disk space of these, not free yet
	ReclaimedFiles uint64            `json:"reclaimed_files"`          // deleted, and their space taken from a reader that kept them open
	ReclaimedBytes uint64            `json:"reclaimed_bytes"`          //
	Spared         uint64            `json:"spared"`                   // times that a file exceeded a limit but was being written
	Unlocked       uint64            `json:"unlocked"`                 // times that another process kept a folder's lock for too long
	Failed         map[string]uint64 `json:"failed_by_errno,omitzero"` // times that a file could not be deleted or a folder not be read
	KeptFiles      uint64            `json:"kept_files"`               // after the last scan
	KeptBytes      uint64            `json:"kept_bytes"`
}

// Removed are the files deleted for one limit.
type Removed struct {
	Reason string `json:"reason"` // age, free, size or files
	Files  uint64 `json:"files"`
	Bytes  uint64 `json:"bytes"`
}

func retentionOf(st retain.Stats) *Retention {
	r := &Retention{
		Removed:   []Removed{},
		OpenFiles: st.Open.Files, OpenBytes: st.Open.Bytes, ReclaimedFiles: st.Reclaimed.Files, ReclaimedBytes: st.Reclaimed.Bytes,
		Spared: st.Spared, Unlocked: st.Unlocked, Failed: st.Failed, KeptFiles: st.Kept.Files, KeptBytes: st.Kept.Bytes,
	}
	for _, reason := range slices.Sorted(maps.Keys(st.Removed)) {
		c := st.Removed[reason]
		r.Removed = append(r.Removed, Removed{string(reason), c.Files, c.Bytes})
	}
	return r
}
