package hugepage

// Size is a page size in bytes.
type Size int

const (
	Ordinary Size = 4 << 10 // the machine's own page size, see Bytes
	Size2M   Size = 2 << 20
	Size1G   Size = 1 << 30
)

// AnyNode lets the kernel choose the NUMA node.
const AnyNode = -1

// Options of Alloc.
type Options struct {
	Pages Size   // page size
	Node  int    // NUMA node, or AnyNode
	Name  string // shown in /proc/PID/maps and in errors
}
