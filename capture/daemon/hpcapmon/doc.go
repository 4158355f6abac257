// Package hpcapmon writes HPCAP's monitoring files: a line a second for each port,
// and one about the machine.
//
//	DIR/2026-47/hpcap0   <time> <received bit/s> <received frame/s> <lost bit/s> <lost frame/s>
//	DIR/2026-47/cpus     <time> <busy % of each core ...> <memory KiB: total> <used> <free> <cached>
//
// Times are seconds since 1970. Bits are those of frames without CRC, preamble and
// gaps. How long lost frames were nobody knows: their bits are an estimate, by the
// mean length of those received in the same second, or last. Used, free and cached
// memory add up to the total; buffers and reclaimable slabs count as cached.
//
// A folder is a week of ISO 8601, <year>-<week>, in UTC; its year is the week's own,
// so that the first days of January may be in the old year's last week.
//
// Files are opened for each line and only ever appended to: they can be moved,
// compressed and deleted at any time.
package hpcapmon
