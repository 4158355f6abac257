//go:build vmtest

package vmtest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// examine runs doctor as the user of captures and checks its exit status.
func (b bound) examine(t *testing.T, name string, ready bool) string {
	t.Helper()
	out, err := b.tryAs("probe", "doctor "+b.addr)
	keep(t, "doctor "+name, out)
	if ready {
		require.NoError(t, err, out)
	} else {
		require.EqualError(t, err, "status 1", out)
		require.NotContains(t, out, "\nready:")
	}
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "sudo") && !strings.Contains(line, "boot the kernel") {
			require.LessOrEqual(t, len(line), 101, line)
		}
	}
	return out
}

// verdict returns the line of a check with single spaces.
func verdict(t *testing.T, out, check string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if words := strings.Join(strings.Fields(line), " "); strings.Contains(" "+words, " "+check+" ") && !strings.HasPrefix(line, " ") {
			return words
		}
	}
	t.Fatalf("no line about %s:\n%s", check, out)
	return ""
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	for kernel := range bases {
		t.Run(kernel, func(t *testing.T) {
			t.Parallel()
			b := newBound(t, boot(t, machine{Kernel: kernel, NICs: []nic{{Wire: "gen,size=60,rate=1kpps"}}, Memlock: "12288"}))
			step(t, "a port bound to ixgbe", func(t *testing.T) {
				out := b.examine(t, "bound to ixgbe", false)
				require.Contains(t, out, "interface    nic0, down")
				require.Equal(t, "FAILED driver ixgbe, interface nic0", verdict(t, out, "driver"))
				require.Contains(t, out, "sudo examples/vfio-bind bind "+b.addr+" -u $USER\n")
				require.Contains(t, verdict(t, out, "IOMMU"), "ok IOMMU on (dmar0)")
				require.Contains(t, verdict(t, out, "huge pages"), "FAILED huge pages 0 of 2 MiB free")
				require.Contains(t, verdict(t, out, "device node"), "unknown device node")
			})
			step(t, "nodes without access", func(t *testing.T) {
				b.run(t, "vfio-bind bind nic0 --hugepages 151")
				out := b.examine(t, "node of root", false)
				require.Contains(t, verdict(t, out, "device node"), "FAILED device node")
				require.Contains(t, strings.Join(strings.Fields(out), " "), "no access for probe: ")
				require.Contains(t, strings.Join(strings.Fields(out), " "), "/dev/vfio/"+b.group+" (root:root 0600)")
				require.Contains(t, verdict(t, out, "huge pages"), "ok huge pages 151 of 2 MiB free")
			})
			step(t, "too few huge pages", func(t *testing.T) {
				b.run(t, "vfio-bind bind nic0 -u probe; echo 150 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
				out := b.examine(t, "huge pages missing", false)
				require.Equal(t, 1, strings.Count(out, "FAILED"), out)
				require.Contains(t, verdict(t, out, "huge pages"), "FAILED huge pages 150 of 2 MiB free")
				require.Contains(t, out, "--hugepages 151")
				got, err := b.tryAs("probe", "hpcapdd -i "+b.addr+" -w null --duration 1s")
				require.Error(t, err, "a capture runs with less than doctor requires: %s", got)
				require.Contains(t, got, "huge pages of 2MiB are missing")
			})
			// With exactly the pages and the limit that doctor requires.
			step(t, "a ready machine, and its capture command", func(t *testing.T) {
				b.run(t, "vfio-bind bind nic0 --hugepages 151")
				out := b.examine(t, "healthy "+kernel, true)
				require.NotContains(t, out, "FAILED")
				_, command, _ := strings.Cut(out, "\nready: ")
				require.True(t, strings.HasPrefix(command, "hpcapdd -i "+b.addr), command)
				got := b.runAs(t, "probe", strings.Replace(strings.TrimSpace(command), "-w DIR", "-w null --duration 2s", 1))
				require.Contains(t, got, "the ledger balances")
			})
			step(t, "JSON, port by its former interface", func(t *testing.T) {
				var report struct {
					Ready  bool
					Device string
				}
				require.NoError(t, json.Unmarshal([]byte(b.runAs(t, "probe", "doctor nic0 --json")), &report))
				require.True(t, report.Ready)
				require.Equal(t, b.addr, report.Device)
			})
		})
	}
}

// The kernel's default limit of locked memory is too small for a capture.
func TestDoctorMemlock(t *testing.T) {
	t.Parallel()
	b := newBound(t, boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "gen,size=60,rate=1kpps"}}, Memlock: "8192"}))
	step(t, "limit of locked memory", func(t *testing.T) {
		b.run(t, "vfio-bind bind nic0 -u probe --hugepages 151")
		out := b.examine(t, "memlock", false)
		require.Equal(t, "FAILED memlock limit 8 MiB for probe, 12 MiB needed", verdict(t, out, "memlock"))
		require.Equal(t, 1, strings.Count(out, "FAILED"), out)
		got, err := b.tryAs("probe", "hpcapdd -i "+b.addr+" -w null --duration 1s")
		require.Error(t, err, "a capture runs with less than doctor requires: %s", got)
		require.Contains(t, got, "RLIMIT_MEMLOCK")
	})
}

func TestDoctorWithoutIOMMU(t *testing.T) {
	t.Parallel()
	v := boot(t, machine{Kernel: "6.1", NICs: []nic{{Wire: "gen,size=60,rate=1kpps"}}, NoIOMMU: true})
	v.run(t, "modprobe ixgbe")
	b := bound{vm: v, addr: v.nic(0).addr(t)}
	step(t, "doctor reports it", func(t *testing.T) {
		out := b.examine(t, "IOMMU off", false)
		require.Equal(t, "FAILED IOMMU disabled on the kernel command line", verdict(t, out, "IOMMU"))
		require.Contains(t, out, "remove iommu=off, intel_iommu=off and amd_iommu=off from /etc/default/grub\n")
		require.Contains(t, verdict(t, out, "IOMMU group"), "unknown IOMMU group none")
	})
	step(t, "vfio-bind refuses", func(t *testing.T) {
		out := b.refused(t, "vfio-bind bind nic0 --hugepages 8")
		require.Contains(t, out, "not behind an IOMMU")
		keep(t, "bind without IOMMU", out)
		require.Equal(t, "ixgbe", b.driver(t))
	})
}
