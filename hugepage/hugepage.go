package hugepage

// Size is a page size in bytes.
type Size int

const (
	Ordinary Size = 4 << 10 // only when asked for by name
	Size2M   Size = 2 << 20
	Size1G   Size = 1 << 30
)

// AnyNode leaves the choice of NUMA node to the kernel.
const AnyNode = -1

// Options say what memory Alloc gives.
type Options struct {
	Pages Size   // page size
	Node  int    // NUMA node, or AnyNode
	Name  string // shown in /proc/PID/maps and in errors
}
