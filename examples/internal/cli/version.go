package cli

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version returns the module's version, the commit and its time, and the build:
// compiler, system and architecture.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	vcs := map[string]string{}
	for _, s := range info.Settings {
		vcs[s.Key] = s.Value
	}
	commit := cmp.Or(vcs["vcs.revision"], "unknown")
	if t := vcs["vcs.time"]; t != "" {
		commit += " of " + t
	}
	if vcs["vcs.modified"] == "true" {
		commit += ", modified"
	}
	return fmt.Sprintf("%s (commit %s; %s %s/%s)", cmp.Or(info.Main.Version, "(devel)"), commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
