package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

const maxFile = 1 << 20 // bytes of a file of settings

// Load reads a file and checks it. The error joins a Problem for each mistake.
func Load(path string) (*Settings, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: more than 1 MiB: is it a file of settings?", path)
	}
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return Parse(path, string(text))
}

// Parse is Load of a text. path is the file in messages; @FILE means a file in
// path's folder.
func Parse(path, text string) (*Settings, error) {
	d := decoder{dir: filepath.Dir(path), problems: problems{origin: origin{file: path, lines: map[string]int{}}}}
	s := d.decode(text)
	if s == nil {
		return nil, Join(d.sorted())
	}
	s.origin = d.origin
	// A value that could not be read is reported already: its default is not a
	// second problem.
	read := d.all
	for _, p := range s.Check() {
		if !slices.ContainsFunc(read, func(r Problem) bool { return r.Key == p.Key }) {
			d.all = append(d.all, p)
		}
	}
	if all := d.sorted(); len(all) > 0 {
		return nil, Join(all)
	}
	return s, nil
}

// decode reads all tables. It returns nil if the text is not TOML.
func (d *decoder) decode(text string) *Settings {
	var top map[string]toml.Primitive
	meta, err := toml.Decode(text, &top)
	if err != nil {
		p := Problem{File: d.origin.file, Text: err.Error()}
		if e := (toml.ParseError{}); errors.As(err, &e) {
			p.Line, p.Text = e.Position.Line, strings.ReplaceAll(e.Message, "\n", "; ")
		}
		d.all = append(d.all, p)
		return nil
	}
	d.meta = meta
	s := New()
	base := Defaults()
	for name, table := range top {
		switch name {
		case "defaults", "storage", "port":
		case "retention":
			d.table(name, table, &s.Retention)
		case "share":
			d.table(name, table, &s.Share)
		case "metrics":
			d.table(name, table, &s.Metrics)
		case "hpcapmon":
			d.table(name, table, &s.Hpcapmon)
		default:
			d.mark(name, table)
			d.add(name, "unknown table%s", suggestion(name, []string{"defaults", "storage", "port.NAME", "retention", "share", "metrics", "hpcapmon"}))
		}
	}
	if table, ok := top["storage"]; ok {
		d.table("storage", table, &base.Storage)
	}
	if table, ok := top["defaults"]; ok {
		d.table("defaults", table, &base)
	}
	if table, ok := top["port"]; ok {
		s.Ports = d.ports(table, base)
	}
	return s
}

// ports reads the tables [port.NAME] in the order of the file.
func (d *decoder) ports(table toml.Primitive, base Port) (all []Port) {
	named, ok := d.open("port", table)
	if !ok {
		return nil
	}
	for _, key := range d.meta.Keys() {
		if len(key) < 2 || key[0] != "port" {
			continue
		}
		name := key[1]
		table, first := named[name]
		if !first {
			continue
		}
		delete(named, name)
		p := base
		p.Name = name
		d.table("port."+name, table, &p)
		all = append(all, p)
	}
	return all
}
