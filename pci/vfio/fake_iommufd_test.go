package vfio

import (
	"syscall"

	"github.com/ixcap/ixcap/dma"
)

func (k *fakeKernel) iommufdIoctl(f *fakeFile, req request, arg []byte, refs []ref) (int, error) {
	const ioas = 7
	if int(word(arg, 0)) != len(arg) {
		return -1, syscall.EINVAL
	}
	attached := false
	for _, d := range k.files {
		attached = attached || d.iommufd == f && d.attached
	}
	switch req {
	case ioasAlloc:
		if len(arg) != 12 || word(arg, 4) != 0 {
			return -1, syscall.EOPNOTSUPP
		}
		order.PutUint32(arg[8:], ioas)
		return 0, nil
	case ioasRanges:
		if len(arg) != 32 || word(arg, 4) != ioas || word(arg, 12) != 0 || len(refs) != 1 || refs[0].at != 16 {
			return -1, syscall.ENOENT
		}
		list := k.ranges
		if !attached {
			list = []dma.Range{{First: 0, Last: ^dma.IOVA(0)}}
		}
		room := int(word(arg, 8))
		order.PutUint32(arg[8:], uint32(len(list)))
		if room < len(list) {
			return -1, syscall.EMSGSIZE
		}
		for i, r := range list {
			order.PutUint64(refs[0].mem[16*i:], uint64(r.First))
			order.PutUint64(refs[0].mem[16*i+8:], uint64(r.Last))
		}
		order.PutUint64(arg[24:], k.pages&-k.pages)
		return 0, nil
	case ioasMap:
		if len(arg) != 40 || word(arg, 4)&1 == 0 || word(arg, 4)&6 == 0 || word(arg, 8) != ioas || word(arg, 12) != 0 || len(refs) != 1 || refs[0].at != 16 {
			return -1, syscall.EOPNOTSUPP
		}
		return 0, k.mapDMA(f, order.Uint64(arg[32:]), order.Uint64(arg[24:]), refs[0].mem, -1)
	case ioasUnmap:
		if len(arg) != 24 || word(arg, 4) != ioas {
			return -1, syscall.ENOENT
		}
		if _, ok := f.maps[order.Uint64(arg[8:])]; !ok {
			return -1, syscall.ENOENT
		}
		n, err := k.unmapDMA(f, order.Uint64(arg[8:]), order.Uint64(arg[16:]))
		order.PutUint64(arg[16:], n)
		return 0, err
	}
	return -1, syscall.ENOTTY
}
