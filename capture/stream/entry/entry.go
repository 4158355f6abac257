package entry

// Groups is the number of fan-out groups that an entry has room for.
const Groups = 8

// PlaceUnit is the unit of Entry.Place in bytes.
const PlaceUnit = 4

// Entry is one frame in the index. Other processes read it as it lies in memory.
type Entry struct {
	Offset uint64 // of the frame's record in the stream
	Hash   uint32 // RSS hash
	VLAN   uint16
	Info   uint16        // ring.Info, and stream.Truncated
	Caplen uint16        // bytes stored
	Len    uint16        // bytes on the wire, without CRC
	Place  uint32        // of the record in a pool, in units of PlaceUnit; 0 without a pool
	Member [Groups]uint8 // per fan-out group, the member it was assigned to
}
