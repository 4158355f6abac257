// Package hugepage gives memory that devices and other processes can share.
//
// In goes a number of bytes, a page size and a NUMA node; out comes a memfd that
// is populated, zeroed and mapped. Whoever gets the descriptor sees the same bytes.
//
//	Alloc(bytes, Options)
//	  memfd_create    -> descriptor, huge pages of the asked size
//	  ftruncate       -> rounded up to whole pages
//	  mmap            -> address; the kernel reserves the pages here, on any node
//	  mbind           -> pages may only come from the asked node
//	  MADV_POPULATE   -> pages are there, or an error (never a SIGBUS later)
//
//	            0         Len()       2*Len()
//	Bytes()     |---------|                    one mapping
//	MapTwice()  |---------|---------|          the same pages, twice in a row
//
// The kernel reserves hugetlb pages for a shared mapping when it is made, but
// counts them over all nodes: a mapping bound to a node that has too few is
// granted, and the process that touches the missing page is killed by SIGBUS.
// MAP_POPULATE does not help, it leaves holes without a word. So Alloc populates
// with madvise(MADV_POPULATE_WRITE), which reports the failure; this needs
// Linux 5.14.
//
// When pages are missing, the error says how many, on which node, and the
// command that reserves them. Package hugepagetest reserves them for tests.
package hugepage
