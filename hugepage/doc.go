// Package hugepage allocates memory that is shared with devices and other
// processes: a memfd of huge or ordinary pages on a NUMA node, populated, zeroed and
// mapped. Another process that receives the descriptor maps the same bytes.
//
//	Alloc(bytes, Options)
//	  memfd_create    -> descriptor, huge pages of the size asked for
//	  ftruncate       -> rounded up to whole pages
//	  mmap            -> address; the kernel reserves the pages here, on any node
//	  mbind           -> pages may only come from the node asked for
//	  MADV_POPULATE   -> pages are present, or an error (never a SIGBUS later)
//
//	            0         Len()       2*Len()
//	Bytes()     |---------|                    one mapping
//	MapTwice()  |---------|---------|          the same pages, twice in a row
//
// The kernel reserves hugetlb pages for a shared mapping when it is made, but
// counts them over all nodes: it grants a mapping bound to a node that has too few,
// and kills the process that accesses the missing page with SIGBUS. MAP_POPULATE
// does not help, it leaves holes without an error. So Alloc populates with
// madvise(MADV_POPULATE_WRITE), which reports the failure; this needs Linux 5.14.
//
// If pages are missing, the error has their number, the node, and the command that
// reserves them. Package hugepagetest reserves them for tests.
package hugepage
