package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// writeMan writes a man page of the command and of each subcommand to a directory,
// which it creates. The pages hold the text of --help.
func writeMan(cmd *cobra.Command, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write man pages: %w", err)
	}
	header := &doc.GenManHeader{Section: "1", Source: "ixcap", Manual: "ixcap"}
	var write func(c *cobra.Command) error
	write = func(c *cobra.Command) error {
		c.DisableAutoGenTag = true
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("write man pages: %w", err)
		}
		h := *header // GenMan sets its title
		if err := doc.GenMan(c, &h, f); err != nil {
			f.Close()
			return fmt.Errorf("write man page %s: %w", name, err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("write man pages: %w", err)
		}
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				if err := write(sub); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return write(cmd)
}
