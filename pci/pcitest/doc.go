// Package pcitest builds sysfs trees of PCI functions for tests.
//
//	Tree.Function, Driver, Group, NetIF ──> folder ──> pci.Find, pci.Lookup, doctor
//	Host: a machine with a dual-port 82599
package pcitest
