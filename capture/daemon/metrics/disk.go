package metrics

import (
	"maps"
	"slices"

	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/archive/store"
)

var (
	storerRead      = counter("storer_read_bytes", "Bytes that the storer has read: kept + filtered + cut + failed + still being written; of frames in the formats pcap and pcapng, else of the stream.", "port", "queue")
	storerKept      = gauge("storer_kept_bytes", "Of those, written and kept; less than before when what was written turns out to be lost.", "port", "queue")
	storerFailed    = counter("storer_failed_bytes", "Of those, not stored, by the name of the errno.", "port", "queue", "cause")
	storerFiltered  = counter("storer_filtered_bytes", "Of those, left out by the storer's own filter.", "port", "queue")
	storerCut       = counter("storer_cut_bytes", "Of those, behind the storer's own capture length.", "port", "queue")
	storerFiles     = gauge("storer_files", "Files begun, and not removed again because nothing came to be in them.", "port", "queue")
	storerIndexed   = gauge("storer_indexed_files", "Files closed that have their sidecar.", "port", "queue")
	storerUnindexed = gauge("storer_unindexed_files", "Files closed that have none yet.", "port", "queue")
	storerFailing   = gauge("storer_failing", "Whether what comes is not stored for the moment.", "port", "queue")

	dirWrote   = counter("storer_dir_wrote_bytes", "Bytes that the folder's disk took, whatever became of them.", "port", "queue", "dir")
	dirFiles   = gauge("storer_dir_files", "Files begun in the folder, and not removed again.", "port", "queue", "dir")
	dirWaiting = gauge("storer_dir_waiting_blocks", "Blocks for the folder that are read and not written yet.", "port", "queue", "dir")
	dirFailing = gauge("storer_dir_failing", "Whether nothing can be stored in the folder for the moment.", "port", "queue", "dir")
	dirDirect  = gauge("storer_dir_direct", "Whether the folder is written with O_DIRECT.", "port", "queue", "dir")
	dirWrites  = histogram("storer_dir_write_seconds", "How long writes of a block took.", "port", "queue", "dir")

	removedFiles = counter("retention_removed_files", "Files deleted, by the limit that they were deleted for.", "reason")
	removedBytes = counter("retention_removed_bytes", "Bytes of those.", "reason")
	spared       = counter("retention_spared", "Times that a file should have gone and somebody was reading or writing it.")
	retainFailed = counter("retention_failed", "Times that a file or folder stood in the way, by the name of the errno.", "cause")
	keptFiles    = gauge("retention_kept_files", "Files in all folders, those being written included.")
	keptBytes    = gauge("retention_kept_bytes", "Bytes of those.")
)

// storer is a storer's side of the ledger, and what its disks do.
func (s sample) storer(st *store.Stats) {
	s.add(storerRead, float64(st.Read))
	s.add(storerKept, float64(st.Written))
	for _, cause := range slices.Sorted(maps.Keys(st.Failed)) {
		s.add(storerFailed, float64(st.Failed[cause]), cause)
	}
	s.add(storerFiltered, float64(st.Filtered))
	s.add(storerCut, float64(st.Cut))
	s.add(storerFiles, float64(st.Files))
	s.add(storerIndexed, float64(st.Indexed))
	s.add(storerUnindexed, float64(st.Unindexed))
	s.add(storerFailing, truth(st.Failing))
	for i := range st.Dirs {
		d := &st.Dirs[i]
		s.add(dirWrote, float64(d.Wrote), d.Path)
		s.add(dirFiles, float64(d.Files), d.Path)
		s.add(dirWaiting, float64(d.Waiting), d.Path)
		s.add(dirFailing, truth(d.Failing != ""), d.Path)
		s.add(dirDirect, truth(d.Direct), d.Path)
		var bounds []float64
		for b := range len(d.Latency.Counts) - 1 {
			bounds = append(bounds, d.Latency.Bound(b).Seconds())
		}
		s.distribution(dirWrites, bounds, d.Latency.Counts[:], d.Latency.Sum.Seconds(), d.Path)
	}
}

// retention is what was deleted, and what is left.
func (s sample) retention(st *retain.Stats) {
	for _, why := range []retain.Reason{retain.ForAge, retain.ForFree, retain.ForSize} {
		s.add(removedFiles, float64(st.Removed[why].Files), string(why))
		s.add(removedBytes, float64(st.Removed[why].Bytes), string(why))
	}
	s.add(spared, float64(st.Spared))
	for _, cause := range slices.Sorted(maps.Keys(st.Failed)) {
		s.add(retainFailed, float64(st.Failed[cause]), cause)
	}
	s.add(keptFiles, float64(st.Kept.Files))
	s.add(keptBytes, float64(st.Kept.Bytes))
}
