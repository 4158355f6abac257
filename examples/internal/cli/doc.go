// Package cli holds the conventions of the programs' command lines.
//
//	arguments ─► cobra command ─► run ─► exit status 0, 1, 2 (usage) or 3 (loss)
//	                │                └─► one line of standard error for each error
//	                └─► --help with groups of flags and examples, --version,
//	                    completion bash|zsh|fish, man pages
package cli
