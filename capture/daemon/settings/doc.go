// Package settings holds the configuration of a capture, and checks it before
// anything is opened.
//
//	ixcap.toml ─► Load ──┐ unknown keys, bad values: FILE:LINE: KEY: what is wrong
//	                     ├─► Settings ─► Check ────────► all problems at once
//	flags ───────────────┘          ├──► CheckMachine ─► folders, cores, devices, addresses
//	                                └──► Compare ──────► changes that apply live, or need a restart
//
// A file has a table for each port, and tables for what the ports share:
//
//	[defaults]               settings of every port that does not set its own
//	[storage]                the same for how files are stored
//	[port.NAME]              a port; NAME is used in file names, messages and metrics
//	[port.NAME.storage]
//	[retention] [share] [metrics] [hpcapmon]
//
// The keys are the toml tags of Settings' types. Sizes and times have units ("2GiB",
// "90s", "7d"; package units). An empty value is an error: "none" turns off what can
// be turned off. examples/systemd/ixcap.toml shows every key.
package settings
