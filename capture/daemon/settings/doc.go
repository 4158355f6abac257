// Package settings is what hpcapdd can be told, checked before anything is opened.
//
//	ixcap.toml ─► Load ──┐ unknown keys, bad values, each with its line
//	                     ├─► Settings ─► Check ─► problems, all of them at once
//	flags ───────────────┘                └─► CheckMachine: folders, cores, addresses of this machine
//
// A file has a table for each port, and tables for what they share:
//
//	[defaults]               settings of all ports that do not say otherwise
//	[storage]                where and how all ports store that do not say otherwise
//	[port.NAME]              a port; NAME is its name in file names, messages and metrics
//	[port.NAME.storage]
//	[retention] [share] [metrics] [data]
//
// The keys are the toml tags of Settings' types. Sizes are words with units
// ("2GiB"), and so are times ("90s", "7d"). examples/systemd/ixcap.toml shows all
// of them with what they mean.
//
// Compare says what differs between two Settings, and what of it a running
// capture can take over.
package settings
