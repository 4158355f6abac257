package daemon

import (
	"errors"
	"fmt"
	"io"

	"github.com/ixcap/ixcap/capture/daemon/settings"
)

// Check writes a summary of settings to w, or returns everything that this machine
// cannot do of them. It opens nothing.
func Check(w io.Writer, s *settings.Settings) error {
	err := settings.Join(s.CheckMachine(settings.Machine{}))
	if bad := policy(s).Check(folders(s)...); bad != nil {
		err = errors.Join(err, fmt.Errorf("retention: %w", bad))
	}
	if err != nil {
		return err
	}
	what := "ok"
	if file := s.File(); file != "" {
		what = file + ": ok"
	}
	_, err = fmt.Fprintf(w, "%s\n%s", what, s.Summary())
	return err
}
