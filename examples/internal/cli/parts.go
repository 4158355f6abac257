package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ixcap/ixcap/capture/units"
)

// Parts are the numbered files (extract.PartName) that an earlier run made of an output.
type Parts struct{ earlier []part }

type part struct {
	path   string
	number int
}

// EarlierParts finds the parts that exist of an output. It returns an error if there is
// one and force is not set, or if one is an input.
func EarlierParts(name string, inputs []string, force bool) (*Parts, error) {
	ext := filepath.Ext(name)
	stem := strings.TrimSuffix(filepath.Base(name), ext) + "-"
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("create output %s: %w", name, err)
	}
	var p Parts
	for _, e := range entries {
		digits, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ext), stem)
		n, err := strconv.ParseUint(digits, 10, 31)
		if !ok || err != nil || e.Name() != fmt.Sprintf("%s%06d%s", stem, n, ext) || e.IsDir() {
			continue
		}
		path := filepath.Join(filepath.Dir(name), e.Name())
		st, err := os.Stat(path)
		if err != nil {
			continue // Create has the error
		}
		if in, is := isInput(path, st, inputs); is {
			return nil, fmt.Errorf("output %s: is also an input (%s). Choose another name", path, in)
		}
		if !force {
			return nil, fmt.Errorf("output %s: file exists. Choose another name or add --force", path)
		}
		p.earlier = append(p.earlier, part{path, int(n)})
	}
	slices.SortFunc(p.earlier, func(a, b part) int { return cmp.Compare(a.number, b.number) })
	return &p, nil
}

// End removes the earlier parts that follow those written, which would else be taken for
// parts of this output, and returns a notice; "" if there are none. If the output is not
// whole they stay, and the error names them.
func (p *Parts) End(written int, whole bool) (notice string, err error) {
	left := slices.DeleteFunc(slices.Clone(p.earlier), func(one part) bool { return one.number < written })
	if len(left) == 0 || written == 0 {
		return "", nil
	}
	what := fmt.Sprintf("%s of an earlier output, %s to %s", units.Plural(uint64(len(left)), "file"), left[0].path, left[len(left)-1].path)
	if !whole {
		return "", errors.New(what + ": stay beside the new ones. Remove them")
	}
	for _, one := range left {
		if e := os.Remove(one.path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return what + ": removed", err
}
