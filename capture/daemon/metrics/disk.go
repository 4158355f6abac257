package metrics

import (
	"maps"
	"slices"

	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/archive/store"
)

var (
	storerRead      = counter("storer_read_bytes", "Bytes read by the storer: kept + filtered + cut + failed + not yet written. Bytes of frames for the formats pcap and pcapng, of the stream for raw.", "port", "queue")
	storerKept      = gauge("storer_kept_bytes", "Bytes written by the storer and kept. Decreases when written bytes turn out to be lost.", "port", "queue")
	storerFailed    = counter("storer_failed_bytes", "Bytes read by the storer that could not be stored, by errno.", "port", "queue", "cause")
	storerFiltered  = counter("storer_filtered_bytes", "Bytes dropped by the filter of the storer.", "port", "queue")
	storerCut       = counter("storer_cut_bytes", "Bytes of frames beyond the snaplen of the storer.", "port", "queue")
	storerFiles     = gauge("storer_files", "Files begun by the storer and not removed because they stayed empty.", "port", "queue")
	storerIndexed   = gauge("storer_indexed_files", "Complete files of the storer that have an index sidecar.", "port", "queue")
	storerUnindexed = gauge("storer_unindexed_files", "Complete files of the storer that have no index sidecar yet.", "port", "queue")
	storerFailing   = gauge("storer_failing", "1 while the storer cannot store to any folder, else 0.", "port", "queue")

	dirWritten = counter("storer_dir_written_bytes", "Bytes written by the storer to the folder, those that were lost later included.", "port", "queue", "dir")
	dirFiles   = gauge("storer_dir_files", "Files begun by the storer in the folder and not removed because they stayed empty.", "port", "queue", "dir")
	dirWaiting = gauge("storer_dir_waiting_blocks", "Blocks that the storer has read for the folder and not written yet.", "port", "queue", "dir")
	dirFailing = gauge("storer_dir_failing", "1 while the storer cannot store to the folder, else 0.", "port", "queue", "dir")
	dirDirect  = gauge("storer_dir_direct", "1 if the storer writes to the folder with O_DIRECT, 0 if through the page cache.", "port", "queue", "dir")
	dirWrites  = histogram("storer_dir_write_seconds", "Latency of writes of a block to the folder.", "port", "queue", "dir")

	removedFiles   = counter("retention_removed_files", "Files deleted by retention, by the limit that they exceeded.", "reason")
	removedBytes   = counter("retention_removed_bytes", "Bytes of the files deleted by retention, by the limit that they exceeded.", "reason")
	openFiles      = gauge("retention_open_files", "Files deleted by retention that a reader has open.")
	openBytes      = gauge("retention_open_bytes", "Disk space of the deleted files that a reader has open, in bytes.")
	reclaimedFiles = counter("retention_reclaimed_files", "Deleted files whose disk space retention took from a reader that had them open for too long.")
	reclaimedBytes = counter("retention_reclaimed_bytes", "Disk space that retention took from readers of deleted files, in bytes.")
	spared         = counter("retention_spared", "Number of times that retention spared a file that exceeded a limit because it was being written.")
	unlocked       = counter("retention_unlocked", "Number of times that another process kept the lock of a folder, so that retention went on without it.")
	retainFailed   = counter("retention_failed", "Number of times that retention could not delete a file or list a folder, by errno.", "cause")
	keptFiles      = gauge("retention_kept_files", "Files in all folders, those being written included.")
	keptBytes      = gauge("retention_kept_bytes", "Bytes of the files in all folders, those being written included.")
)

// storer adds the counters of a storer and its folders.
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
		s.add(dirWritten, float64(d.Wrote), d.Path)
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

// retention adds the counters of retention.
func (s sample) retention(st *retain.Stats) {
	for _, why := range []retain.Reason{retain.ForAge, retain.ForFree, retain.ForSize, retain.ForFiles} {
		s.add(removedFiles, float64(st.Removed[why].Files), string(why))
		s.add(removedBytes, float64(st.Removed[why].Bytes), string(why))
	}
	s.add(openFiles, float64(st.Open.Files))
	s.add(openBytes, float64(st.Open.Bytes))
	s.add(reclaimedFiles, float64(st.Reclaimed.Files))
	s.add(reclaimedBytes, float64(st.Reclaimed.Bytes))
	s.add(spared, float64(st.Spared))
	s.add(unlocked, float64(st.Unlocked))
	for _, cause := range slices.Sorted(maps.Keys(st.Failed)) {
		s.add(retainFailed, float64(st.Failed[cause]), cause)
	}
	s.add(keptFiles, float64(st.Kept.Files))
	s.add(keptBytes, float64(st.Kept.Bytes))
}
