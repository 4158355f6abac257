package rawstore

import (
	"time"

	"github.com/ixcap/ixcap/capture/archive/rawfile"
	"github.com/ixcap/ixcap/capture/archive/store"
)

// synced is what of a file the disk is known to have.
type synced struct{ bytes, frames int64 }

// finalize does what is slow about a file besides writing it: its sidecar, its
// syncs, its end. Each file has its own finalizer, so that a disk that hangs does
// not delay the others.
func (s *Storer) finalize(f *file) {
	defer s.finalizers.Done()
	tick := time.NewTicker(s.cfg.Sync.Interval())
	defer tick.Stop()
	var wake chan struct{}
	if f.side != nil {
		wake = f.side.wake
	}
	var kept synced
	var failed error // the first sync that failed
	for {
		select {
		case <-wake:
			f.side.write(f)
		case <-tick.C:
			if !f.Locked {
				f.Locked = f.Lock() == nil
			}
			frames, bytes := f.storedFrames.Load(), f.stored.Load()
			if s.cfg.Sync > 0 && bytes > kept.bytes && failed == nil {
				if err := f.Sync(); err != nil {
					failed = f.Error("sync", err)
					s.addFault(f, failed)
				} else {
					kept = synced{bytes, frames}
				}
			}
		case e := <-f.end:
			if e.cause == nil && failed == nil {
				s.finish(f, e, kept)
			} else {
				s.salvage(f, e, kept, failed)
			}
			return
		}
	}
}

// finish closes a file of which all is written: it is cut, or extended with zeros,
// to its size, and gets its final name.
func (s *Storer) finish(f *file, e ending, kept synced) {
	stored := f.stored.Load()
	if err := f.cut(stored, e.size); err != nil {
		s.abandon(f, f.Error("close", err))
		return
	}
	if s.cfg.Sync != store.SyncNever {
		if err := f.Sync(); err != nil {
			s.lose(stored-kept.bytes, int64(e.frames)-kept.frames, err)
			s.abandon(f, f.Error("sync", err))
			return
		}
	}
	s.publish(f, e.size, int64(e.frames))
}

// salvage closes a file that ends early: it is cut after its last whole record, if
// it has any, closed and given its final name. unsynced is the error of a sync; the
// disk may not have what was written since the last one.
func (s *Storer) salvage(f *file, e ending, kept synced, unsynced error) {
	stored, frames := f.stored.Load(), int64(e.frames)
	cause := e.cause
	if cause == nil {
		cause = unsynced
	}
	if f.Deleted() {
		s.lose(stored, frames, cause)
		s.remove(f)
		return
	}
	var whole synced
	err := f.Truncate(stored)
	if err == nil {
		var n int
		whole.bytes, n, err = f.wholeRecords(stored)
		whole.frames = int64(n)
	}
	if err != nil {
		s.lose(0, frames-f.storedFrames.Load(), cause)
		s.abandon(f, f.Error("cut", err))
		return
	}
	if unsynced != nil {
		s.lose(stored-min(whole.bytes, kept.bytes), frames-min(whole.frames, kept.frames), cause)
	} else {
		s.lose(stored-whole.bytes, frames-whole.frames, cause)
	}
	if whole.bytes == 0 {
		s.remove(f)
		return
	}
	size := whole.bytes + rawfile.HeaderLen
	if err := f.cut(whole.bytes, size); err != nil {
		size = whole.bytes // the file ends after a whole record
	}
	if s.cfg.Sync != store.SyncNever && unsynced == nil {
		if err := f.Sync(); err != nil {
			s.lose(whole.bytes-min(whole.bytes, kept.bytes), whole.frames-min(whole.frames, kept.frames), err)
			s.abandon(f, f.Error("sync", err))
			return
		}
	}
	s.publish(f, size, whole.frames)
}

// publish gives a file of so many bytes and frames its final name.
func (s *Storer) publish(f *file, size, frames int64) {
	indexed := f.side != nil && f.side.finish(f, size, s.uncertainty(), s.cfg.Sync)
	renamed, err := f.Publish(s.cfg.Sync)
	if err != nil {
		switch {
		case !renamed && f.Deleted():
			err = f.Error("rename", store.ErrDeleted)
			s.lose(f.stored.Load(), frames, err)
			s.remove(f)
		case !renamed:
			f.Close()
		}
		s.addFault(f, err)
	}
	if !renamed {
		return
	}
	f.Close() // with the final name: this releases the lock
	if indexed {
		s.stat.indexed.Add(1)
	} else if !s.cfg.NoIndex {
		s.stat.unindexed.Add(1)
		s.deferred.add(f.Path())
	}
	if s.cfg.Closed != nil {
		s.cfg.Closed(f.Path())
	}
}

// abandon leaves a file as it is, under its temporary name, for a repair.
func (s *Storer) abandon(f *file, err error) {
	if f.side != nil {
		f.side.drop(f)
	}
	f.Close()
	s.addFault(f, err)
}

// remove removes a file that holds nothing.
func (s *Storer) remove(f *file) {
	if f.side != nil {
		f.side.drop(f)
	}
	f.Remove()
}

// lose counts bytes that were written and are not kept, and frames.
func (s *Storer) lose(bytes, frames int64, cause error) {
	s.stat.written.Add(-uint64(bytes))
	s.losses.Add(store.Amount{Packets: uint64(frames), Bytes: uint64(bytes)}, cause)
}
