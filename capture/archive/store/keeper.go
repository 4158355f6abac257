package store

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/archive"
	"github.com/ixcap/ixcap/capture/archive/rawfile"
)

// keep does what is slow about a file beside writing it: its sidecar, its syncs,
// its end. Each file has a keeper, so that a disk that hangs holds nobody else up.
func (s *Storer) keep(f *file) {
	defer s.keepers.Done()
	every := time.Second
	if s.cfg.Sync > 0 {
		every = time.Duration(s.cfg.Sync)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	var wake chan struct{}
	if f.side != nil {
		wake = f.side.wake
	}
	var synced int64 // bytes that the disk is known to keep
	var failed error // the first sync that did not work
	for {
		select {
		case <-wake:
			f.side.write(f)
		case <-tick.C:
			if !f.locked {
				f.locked = f.h.Lock() == nil
			}
			if stored := f.stored.Load(); s.cfg.Sync > 0 && stored > synced && failed == nil {
				if err := f.h.Sync(); err != nil {
					failed = f.error("sync", err)
					s.report(f, failed)
				} else {
					synced = stored
				}
			}
		case e := <-f.end:
			if e.cause == nil && failed == nil {
				s.finish(f, e.size, synced)
			} else {
				s.salvage(f, e, synced, failed)
			}
			return
		}
	}
}

// finish closes a file of which all is written, at size bytes: it is cut, or
// extended with zeros, and gets its final name.
func (s *Storer) finish(f *file, size, synced int64) {
	stored := f.stored.Load()
	if err := f.cut(stored, size); err != nil {
		s.abandon(f, f.error("close", err))
		return
	}
	if s.cfg.Sync != SyncNever {
		if err := f.h.Sync(); err != nil {
			s.lose(stored-synced, err)
			s.abandon(f, f.error("sync", err))
			return
		}
	}
	s.publish(f, size)
}

// cut makes the file, of which written bytes are written, size bytes long. What is
// reserved behind its end is given back by cutting, not by extending.
func (f *file) cut(written, size int64) error {
	err := f.h.Truncate(min(size, written))
	if err == nil && size > written {
		err = f.h.Truncate(size)
	}
	return err
}

// salvage closes a file that could not be written further than size bytes: it is
// cut after its last whole record, if it has any, closed and given its final name.
// unsynced is why what was written since the last sync is not sure to be kept.
func (s *Storer) salvage(f *file, e ending, synced int64, unsynced error) {
	stored := f.stored.Load()
	why := e.cause
	if why == nil {
		why = unsynced
	}
	if n, err := f.h.Links(); err == nil && n == 0 {
		s.lose(stored, why)
		s.empty(f)
		return
	}
	whole := int64(0)
	err := f.h.Truncate(stored)
	if err == nil {
		whole, err = f.wholeRecords(stored)
	}
	if err != nil {
		s.abandon(f, f.error("cut", err))
		return
	}
	if unsynced != nil {
		s.lose(stored-min(whole, synced), why)
	} else {
		s.lose(stored-whole, why)
	}
	if whole == 0 {
		s.empty(f)
		return
	}
	size := whole + rawfile.HeaderLen
	if err := f.cut(whole, size); err != nil {
		size = whole // the file ends after a whole record all the same
	}
	if s.cfg.Sync != SyncNever && unsynced == nil {
		if err := f.h.Sync(); err != nil {
			s.lose(whole-min(whole, synced), err)
			s.abandon(f, f.error("sync", err))
			return
		}
	}
	s.publish(f, size)
}

// wholeRecords is the length in bytes of the whole records that the file's first
// size bytes begin with. What the index has not seen of them it is given.
func (f *file) wholeRecords(size int64) (int64, error) {
	fd, err := unix.Openat(f.folder, f.name+archive.RawPart, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	in := os.NewFile(uintptr(fd), f.name)
	defer in.Close()
	x := f.side
	if x == nil {
		x = newSidecar()
		x.off.Store(true) // it is only to find the records' end
	}
	buf := make([]byte, Block)
	for x.fed < size {
		n, err := in.ReadAt(buf[:min(size-x.fed, Block)], x.fed)
		if n == 0 {
			return 0, err
		}
		if x.digest(buf[:n]) != nil {
			break // no records from there on
		}
		if out := x.b.Take(); !x.off.Load() {
			x.put(out)
		}
	}
	return x.b.Records(), nil
}

// publish gives a file that is complete its final name.
func (s *Storer) publish(f *file, size int64) {
	indexed := f.side != nil && f.side.finish(f, size, s.cfg.Sync)
	if err := f.rename(); err != nil {
		if n, e := f.h.Links(); e == nil && n == 0 {
			err = errDeleted
			s.lose(f.stored.Load(), err)
			s.empty(f)
		} else {
			f.close()
		}
		s.report(f, fmt.Errorf("rename %s: %w", filepath.Join(f.lane.dir.path, f.name+archive.RawPart), err))
		return
	}
	if s.cfg.Sync != SyncNever {
		if err := unix.Fsync(f.folder); err != nil && err != unix.EINVAL { // a file system that cannot
			s.report(f, fmt.Errorf("sync %s: %w", f.lane.dir.path, err))
		}
	}
	path := filepath.Join(f.lane.dir.path, f.name+archive.Raw)
	f.close() // after the name is final: the lock goes with it
	if indexed {
		s.stat.indexed.Add(1)
	} else if !s.cfg.NoIndex {
		s.stat.unindexed.Add(1)
		s.later.add(path)
	}
	if s.cfg.Closed != nil {
		s.cfg.Closed(path)
	}
}

// abandon leaves a file as it is, under its temporary name: what can be saved of
// it is when a capture starts the next time.
func (s *Storer) abandon(f *file, err error) {
	if f.side != nil {
		f.side.drop(f)
	}
	f.close()
	s.report(f, err)
}

// empty removes a file that has nothing in it.
func (s *Storer) empty(f *file) {
	if f.side != nil {
		f.side.drop(f)
	}
	f.remove()
	f.lane.files.Add(-1)
}

// lose counts bytes that were written and are not kept.
func (s *Storer) lose(n int64, err error) {
	s.stat.written.Add(-uint64(n))
	s.fail(int(n), err)
}
