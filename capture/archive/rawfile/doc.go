// Package rawfile reads and writes RAW files, the capture format of HPCAP.
//
//	bytes (file, pipe, block of the capture stream) ── Reader ──► Record ── Writer, Files ──► bytes
//
// The layout of a file:
//
//	|<------ 12-byte header ------>|                                 |<-- padding -->|
//	+------+------+--------+-------+----------+------+-- ... --------+---------------+
//	| sec  | nsec | caplen | len   | caplen   | sec  |  next record  | 0 | 0 | n | n |  n bytes
//	| u32  | u32  | u16    | u16   | bytes    | u32  |               |               |
//	+------+------+--------+-------+----------+------+-- ... --------+---------------+
//
// All fields are little-endian. There is no file header. len is the length of
// the frame on the wire without its CRC, caplen the number of bytes kept. A header
// with sec and nsec both 0 is padding: readers stop there. It ends a file, so that
// all files of a capture have one size. A record is never split over two files.
//
// The format is described in appendix B.2 of the HPCAP thesis.
package rawfile
