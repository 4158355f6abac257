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

// maxFile is the most bytes that a file of settings may have.
const maxFile = 1 << 20

// Load reads a file and checks what is in it. The error has a line for each
// problem (Problem).
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

// Parse is Load of a text; path stands in messages, and files that it names with
// @FILE are looked for in path's folder.
func Parse(path, text string) (*Settings, error) {
	d := decoder{dir: filepath.Dir(path), problems: problems{origin: origin{file: path, lines: map[string]int{}}}}
	s := d.decode(text)
	if s == nil {
		return nil, Join(d.sorted())
	}
	s.origin = d.origin
	// What could not be read has been told; its default is no problem besides.
	told := d.all
	for _, p := range s.Check() {
		if !slices.ContainsFunc(told, func(t Problem) bool { return t.Key == p.Key }) {
			d.all = append(d.all, p)
		}
	}
	if all := d.sorted(); len(all) > 0 {
		return nil, Join(all)
	}
	return s, nil
}

// decode reads all tables; nil: the text is no TOML.
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
		case "data":
			d.table(name, table, &s.Data)
		default:
			d.mark(name, table)
			d.add(name, "unknown table [%s]%s", name, instead(name, []string{"defaults", "storage", "port.NAME", "retention", "share", "metrics", "data"}))
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

// ports reads the tables [port.NAME], in the order in which they are written.
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
		table, left := named[name]
		if !left {
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
