// Package hpcapmon writes HPCAP's monitoring files: a line a second for each port,
// and one for the machine.
//
//	Engine.Counters ──────────┐
//	/proc/stat, /proc/meminfo ┴─► Writer, each second ─► DIR/<year>-<week>/<port>, cpus
//
//	DIR/2026-47/hpcap0   <time> <received bit/s> <received frame/s> <lost bit/s> <lost frame/s>
//	DIR/2026-47/cpus     <time> <busy % of each core ...> <memory KiB: total> <used> <free> <cached>
//
// Times are seconds since 1970. Bits are those of frames without CRC, preamble and
// gaps. The length of lost frames is unknown: their bits are estimated by the mean
// length of the frames received in the same second, or in the last one with frames.
// Used, free and cached memory add up to the total; buffers and reclaimable slabs
// count as cached.
//
// A folder is a week of ISO 8601, <year>-<week>, in UTC. Its year is that of the
// week: the first days of January may be in the last week of the old year.
//
// Files are opened for each line and only appended to: they can be moved,
// compressed and deleted at any time.
package hpcapmon
