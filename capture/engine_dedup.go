package capture

import (
	"fmt"

	"github.com/ixcap/ixcap/capture/units"
)

// warnLostByDedup logs at the start which frames the settings drop that differ from
// the stored one.
func (e *Engine) warnLostByDedup() {
	if e.cfg.Dedup == nil {
		return
	}
	if lost := e.cfg.Dedup.Loses(); lost != "" {
		e.cfg.Logger.Warn("duplicates: of " + lost + ", only the first is stored")
	}
}

// warnMissedByDedup logs at the end how many frames were forgotten so early that copies
// of them may be stored, by cause. The pollers have ended.
func (e *Engine) warnMissedByDedup() {
	for q, p := range e.pollers {
		if p.path.table == nil {
			continue
		}
		st := p.path.table.Stats()
		if st.Evicted != 0 {
			e.cfg.Logger.Warn(fmt.Sprintf("duplicates: the table forgot %s within the window; later copies of these are stored. Choose more records",
				units.Plural(st.Evicted, "frame")), "queue", q)
		}
		if st.Overwritten != 0 {
			e.cfg.Logger.Warn(fmt.Sprintf("duplicates: %s stored without a comparison, because the buffer no longer held the original. Choose a larger buffer",
				units.Plural(st.Overwritten, "frame")), "queue", q)
		}
	}
}
