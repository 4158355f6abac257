package retain

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// before is Plan's order, written differently.
func before(l *Listing, a, b *File) bool {
	limit := l.Now.Add(24 * time.Hour)
	if e := l.Newest.Add(24 * time.Hour); e.After(limit) {
		limit = e
	}
	if x, y := a.Stamp.After(limit), b.Stamp.After(limit); x != y {
		return x
	}
	if !a.Stamp.Equal(b.Stamp) {
		return a.Stamp.Before(b.Stamp)
	}
	if x, y := filepath.Base(a.Path), filepath.Base(b.Path); x != y {
		return x < y
	}
	return a.Path < b.Path
}

// holds checks what Plan promises: it returns files that may be deleted, the oldest
// first; the limits hold afterwards, unless all that could help is deleted; and
// keeping the youngest of those deleted for a limit breaks that limit.
func holds(l Listing, p Policy, plan []Removal) error {
	why := map[string]Reason{}
	for i, r := range plan {
		if why[r.Path] != "" || r.Left || r.Reason == "" {
			return fmt.Errorf("%s must not be there, or not twice", r.Path)
		}
		if i > 0 && !before(&l, &plan[i-1].File, &r.File) {
			return fmt.Errorf("%s before %s", plan[i-1].Path, r.Path)
		}
		why[r.Path] = r.Reason
	}
	total, free, names := int64(0), map[uint64]int64{}, map[string]bool{}
	for fs, s := range l.Spaces {
		free[fs] = s.Free
	}
	for _, f := range l.Files {
		names[f.Path] = true
		if why[f.Path] == "" {
			total += f.Bytes
		} else {
			free[f.FS] += f.Frees
		}
	}
	for path := range why {
		if !names[path] {
			return fmt.Errorf("%s is not one of the files", path)
		}
	}
	youngest := map[Reason]map[uint64]*File{ForFree: {}, ForSize: {}, ForFiles: {}}
	for i := range plan {
		r := &plan[i]
		switch r.Reason {
		case ForFree:
			youngest[ForFree][r.FS] = &r.File
		case ForSize, ForFiles:
			youngest[r.Reason][0] = &r.File
		}
	}
	for i := range l.Files {
		f := &l.Files[i]
		gone := why[f.Path]
		end := f.Changed
		if end.Before(f.Stamp) || end.After(l.Now) {
			end = f.Stamp
		}
		if aged := p.Age > 0 && end.Add(p.Age).Before(l.Now); aged && !f.Left && gone != ForAge || !aged && gone == ForAge {
			return fmt.Errorf("%s goes for %q, its end is %v", f.Path, gone, end)
		}
		if gone != "" || f.Left {
			continue
		}
		if p.Size > 0 && total > p.Size && f.Bytes > 0 {
			return fmt.Errorf("%s stays though there are %d bytes", f.Path, total)
		}
		if p.Files > 0 && len(l.Files)-len(plan) > p.Files {
			return fmt.Errorf("%s stays though there are %d files", f.Path, len(l.Files)-len(plan))
		}
		if y := youngest[ForFiles][0]; y != nil && before(&l, f, y) {
			return fmt.Errorf("%s stays though %s goes", f.Path, y.Path)
		}
		if y := youngest[ForSize][0]; y != nil && f.Bytes > 0 && before(&l, f, y) {
			return fmt.Errorf("%s stays though %s goes", f.Path, y.Path)
		}
		if p.Free > 0 && free[f.FS] < p.Free && p.Free < l.Spaces[f.FS].Size && f.Frees > 0 {
			return fmt.Errorf("%s stays though %d are free", f.Path, free[f.FS])
		}
		if y := youngest[ForFree][f.FS]; y != nil && f.Frees > 0 && before(&l, f, y) {
			return fmt.Errorf("%s stays though %s goes", f.Path, y.Path)
		}
	}
	if y := youngest[ForFiles][0]; y != nil && (p.Files == 0 || len(l.Files)-len(plan)+1 <= p.Files) {
		return fmt.Errorf("%s need not go for the number of files", y.Path)
	}
	for i := range plan { // files deleted for their number come after the size, and do not make it less needed
		if plan[i].Reason == ForFiles {
			total += plan[i].Bytes
		}
	}
	if y := youngest[ForSize][0]; y != nil && (p.Size == 0 || total+y.Bytes <= p.Size) {
		return fmt.Errorf("%s need not go for the size", y.Path)
	}
	for fs, y := range youngest[ForFree] {
		// Files deleted for the size come after it, and do not make it less needed.
		have := l.Spaces[fs].Free
		for i := range plan {
			if r := &plan[i]; r.FS == fs && r.Reason != ForSize && r.Reason != ForFiles && r.Path != y.Path {
				have += r.Frees
			}
		}
		if p.Free == 0 || have >= p.Free || p.Free >= l.Spaces[fs].Size {
			return fmt.Errorf("%s need not go for the free space", y.Path)
		}
	}
	return nil
}

func file(i int, fs uint64, stamp time.Time, bytes int64) File {
	return File{Path: fmt.Sprintf("/d%d/%02d", fs, i), Stamp: stamp, Changed: stamp.Add(time.Minute), Bytes: bytes, Frees: bytes, FS: fs}
}

// Every listing of up to three files of these kinds, under every policy of these.
func TestPlanKeepsItsPromisesOverAllSmallListings(t *testing.T) {
	spaces := map[uint64]Space{1: {Free: 2, Size: 100}, 2: {Free: 0, Size: 8}}
	plans := 0
	for n := range 4 {
		for code := range 1 << (5 * n) {
			l := Listing{Now: noon, Spaces: spaces}
			for i := range n {
				bits := code >> (5 * i)
				f := file(i, 1+uint64(bits&1), noon.Add(-time.Duration(1+bits>>1&1)*time.Hour), int64(1+bits>>2&1*3))
				f.Left = bits>>3&1 == 1
				if bits>>4&1 == 1 {
					f.Frees = 0
				}
				l.Files = append(l.Files, f)
			}
			for _, p := range []Policy{
				{}, {Size: 1}, {Size: 4}, {Free: 1}, {Free: 4}, {Free: 50}, {Age: 80 * time.Minute},
				{Size: 3, Free: 3}, {Files: 1}, {Files: 2, Size: 5}, {Files: 1, Size: 3, Free: 5, Age: 80 * time.Minute}, {Size: 2, Free: 5, Age: 80 * time.Minute}, {Size: 5, Free: 9, Age: time.Minute},
			} {
				files := slices.Clone(l.Files)
				plan := Plan(l, p)
				if err := holds(l, p, plan); err != nil {
					t.Fatalf("%+v\n%+v\n%+v: %v", p, l, plan, err)
				}
				if !slices.EqualFunc(files, l.Files, func(a, b File) bool { return a.Path == b.Path && a.Left == b.Left }) {
					t.Fatal("Plan changes its input")
				}
				plans++
			}
		}
	}
	require.Greater(t, plans, 300_000)
}

func TestPlanKeepsItsPromisesOverRandomListings(t *testing.T) {
	for seed := range uint64(20_000) {
		r := rand.New(rand.NewPCG(seed, 5))
		l := Listing{Now: noon, Spaces: map[uint64]Space{}}
		for fs := range uint64(1 + r.IntN(3)) {
			l.Spaces[fs] = Space{Free: r.Int64N(40), Size: 50 + r.Int64N(1000)}
		}
		if r.IntN(4) == 0 {
			l.Newest = noon.Add(time.Duration(r.IntN(100)) * time.Hour)
		}
		for i := range r.IntN(30) {
			f := file(i, r.Uint64N(uint64(len(l.Spaces))), noon.Add(-time.Duration(r.IntN(200))*time.Minute), r.Int64N(30))
			switch r.IntN(10) {
			case 0:
				f.Left = true
			case 1:
				f.Frees = 0
			case 2:
				f.Stamp = noon.Add(time.Duration(r.IntN(100)) * time.Hour) // from a clock that was ahead
			case 3:
				f.Changed = noon.Add(-time.Duration(r.IntN(300)) * time.Minute)
			}
			l.Files = append(l.Files, f)
		}
		p := Policy{}
		if r.IntN(2) == 0 {
			p.Size = 1 + r.Int64N(300)
		}
		if r.IntN(2) == 0 {
			p.Free = 1 + r.Int64N(100)
		}
		if r.IntN(2) == 0 {
			p.Age = time.Duration(1+r.IntN(200)) * time.Minute
		}
		plan := Plan(l, p)
		if err := holds(l, p, plan); err != nil {
			t.Fatalf("seed %d: %+v\n%+v\n%+v: %v", seed, p, l, plan, err)
		}
	}
}

// planned returns the numbers of the files that a plan deletes.
func planned(l Listing, p Policy) (all []string) {
	for _, r := range Plan(l, p) {
		all = append(all, filepath.Base(r.Path)+" "+string(r.Reason))
	}
	return all
}

func TestPlanOfAFewFiles(t *testing.T) {
	hours := func(h ...int) (all []File) {
		for i, h := range h {
			all = append(all, file(i, 1, noon.Add(-time.Duration(h)*time.Hour), 10))
		}
		return all
	}
	other := hours(5, 4, 3)
	other[1].FS = 2
	long := hours(5, 3)
	long[0].Changed = noon.Add(-time.Minute) // its last record is young
	copied := hours(5)
	copied[0].Changed = noon.Add(time.Hour)
	for name, c := range map[string]struct {
		l    Listing
		p    Policy
		want []string
	}{
		"no limit":                        {Listing{Files: hours(3, 2, 1)}, Policy{}, nil},
		"size that holds":                 {Listing{Files: hours(3, 2, 1)}, Policy{Size: 30}, nil},
		"size by one byte":                {Listing{Files: hours(3, 2, 1)}, Policy{Size: 29}, []string{"00 size"}},
		"listing out of order":            {Listing{Files: hours(1, 3, 2)}, Policy{Size: 29}, []string{"01 size"}},
		"size of one byte":                {Listing{Files: hours(3, 2, 1)}, Policy{Size: 1}, []string{"00 size", "01 size", "02 size"}},
		"age":                             {Listing{Files: hours(3, 2, 1)}, Policy{Age: 90 * time.Minute}, []string{"00 age", "01 age"}},
		"age of the last record":          {Listing{Files: long}, Policy{Age: 2 * time.Hour}, []string{"01 age"}},
		"age of a copy made tomorrow":     {Listing{Files: copied}, Policy{Age: 2 * time.Hour}, []string{"00 age"}},
		"free":                            {Listing{Files: hours(3, 2, 1)}, Policy{Free: 12}, []string{"00 free"}},
		"free on each file system":        {Listing{Files: other}, Policy{Free: 8}, []string{"00 free", "01 free"}},
		"free more than the disk has":     {Listing{Files: hours(3, 2, 1)}, Policy{Free: 100}, nil},
		"one deletion serves both":        {Listing{Files: hours(3, 2, 1)}, Policy{Free: 12, Size: 20}, []string{"00 free"}},
		"what goes for age serves others": {Listing{Files: hours(3, 2, 1)}, Policy{Free: 12, Size: 20, Age: 150 * time.Minute}, []string{"00 age"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.l.Now = noon
			c.l.Spaces = map[uint64]Space{1: {Free: 5, Size: 100}, 2: {Free: 5, Size: 90}}
			require.Equal(t, c.want, planned(c.l, c.p))
		})
	}
}

// The clock of an earlier run was wrong, or was set during this one: files of this
// run stay as long as with a correct clock.
func TestPlanSurvivesStepsOfTheClock(t *testing.T) {
	at := func(offsets ...time.Duration) (all []File) {
		for i, o := range offsets {
			all = append(all, file(i, 1, noon.Add(o), 10))
		}
		return all
	}
	const year = 365 * 24 * time.Hour
	for name, c := range map[string]struct {
		l    Listing
		p    Policy
		want []string
	}{
		"an earlier run was a year ahead":          {Listing{Files: at(year, year+time.Hour, -2*time.Hour, -time.Hour)}, Policy{Size: 20}, []string{"00 size", "01 size"}},
		"an earlier run was a year behind":         {Listing{Files: at(-year, -year+time.Hour, -2*time.Hour, -time.Hour)}, Policy{Size: 20}, []string{"00 size", "01 size"}},
		"the clock is in 1970, the files are not":  {Listing{Files: at(20*year, -time.Hour, 20*year+time.Hour)}, Policy{Size: 20}, []string{"00 size"}},
		"and none of them is too old":              {Listing{Files: at(20*year, -time.Hour, 20*year+time.Hour)}, Policy{Age: 24 * time.Hour}, nil},
		"set back by an hour within the run":       {Listing{Files: at(-3*time.Hour, 50*time.Minute, 55*time.Minute)}, Policy{Size: 20}, []string{"00 size"}},
		"set back by days within the run":          {Listing{Newest: noon.Add(100 * time.Hour), Files: at(-3*time.Hour, 99*time.Hour, 100*time.Hour)}, Policy{Size: 20}, []string{"00 size"}},
		"set back, and the files' names the same":  {Listing{Files: at(-time.Hour, -time.Hour, -time.Hour)}, Policy{Size: 20}, []string{"00 size"}},
		"one file from the future among the right": {Listing{Files: at(-2*time.Hour, year, -time.Hour)}, Policy{Size: 20}, []string{"01 size"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.l.Now = noon
			c.l.Spaces = map[uint64]Space{1: {Size: 100}}
			require.Equal(t, c.want, planned(c.l, c.p))
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	l := Listing{Now: noon, Spaces: map[uint64]Space{1: {Free: 1 << 40, Size: 1 << 45}}}
	for i := range 10_000 {
		l.Files = append(l.Files, file(i, 1, noon.Add(-time.Duration(i)*time.Second), 2<<30))
	}
	for b.Loop() {
		Plan(l, Policy{Size: 9_999 * 2 << 30, Free: 1 << 30, Age: time.Hour * 24})
	}
}
