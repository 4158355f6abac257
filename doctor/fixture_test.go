package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/pci"
	"github.com/ixcap/ixcap/pci/pcitest"
)

const (
	port0 = "sys/devices/pci0000:00/0000:03:00.0"
	pool2 = "sys/devices/system/node/node1/hugepages/hugepages-2048kB"
	pool1 = "sys/devices/system/node/node1/hugepages/hugepages-1048576kB"
)

// fixture is a machine to examine; a test changes its files.
type fixture struct {
	pcitest.Tree
	used   map[string][]string // configuration by interface
	denied map[string]error    // errors of opening, by device node
	known  []string            // checks that are not OK besides the one under test
}

// healthy is a machine whose first port can capture.
func healthy(t *testing.T) *fixture {
	p := &fixture{pcitest.Tree{T: t, Root: t.TempDir()}, map[string][]string{}, map[string]error{}, nil}
	require.NoError(t, os.Rename(pcitest.Host(t).Root, filepath.Join(p.Root, "sys")))
	p.Remove(port0 + "/driver")
	p.Remove(port0 + "/net")
	p.Remove("sys/class/net/eth2")
	p.Link(port0+"/driver", "sys/bus/pci/drivers/vfio-pci")
	p.Link("sys/class/iommu/dmar0", "sys/devices/virtual/iommu/dmar0")
	for file, text := range map[string]string{
		port0 + "/current_link_speed":                                     "5.0 GT/s PCIe\n",
		port0 + "/current_link_width":                                     "8\n",
		"run/ixcap/vfio-bind/0000:03:00.0":                                "driver=ixgbe\ninterface=eth2\n",
		"dev/vfio/12":                                                     "",
		"dev/vfio/vfio":                                                   "",
		"proc/sys/kernel/osrelease":                                       "6.1.0-56-amd64\n",
		"proc/sys/kernel/sched_rt_runtime_us":                             "950000\n",
		"proc/sys/kernel/sched_rt_period_us":                              "1000000\n",
		"proc/cmdline":                                                    "quiet intel_iommu=on\n",
		"proc/cpuinfo":                                                    "vendor_id\t: GenuineIntel\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n",
		"proc/self/status":                                                "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n",
		"proc/self/limits":                                                "Max locked memory         12582912   8388608    bytes\nMax realtime priority     0          0\n",
		"sys/devices/system/node/node1/cpulist":                           "8-15\n",
		"sys/devices/system/node/online":                                  "0-1\n",
		"sys/devices/system/cpu/online":                                   "0-15\n",
		"sys/devices/system/cpu/isolated":                                 "7,14-15\n",
		"sys/devices/system/cpu/nohz_full":                                "14-15\n",
		"sys/devices/system/cpu/cpu9/cpufreq/scaling_governor":            "performance\n",
		"sys/devices/system/cpu/cpu1/cpufreq/scaling_governor":            "powersave\n", // of another node
		"sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
		"lib/modules/6.1.0-56-amd64/modules.dep":                          "kernel/drivers/vfio/pci/vfio-pci.ko: ...\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages":           "200\n",
		"sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages":        "0\n",
	} {
		p.Write(file, text)
	}
	p.pages(pool2, 200, 151)
	p.pages(pool1, 0, 0)
	return p
}

func (p *fixture) pages(pool string, total, free int) {
	p.Write(pool+"/nr_hugepages", fmt.Sprintln(total))
	p.Write(pool+"/free_hugepages", fmt.Sprintln(free))
	p.Write(pool+"/surplus_hugepages", "0\n")
}

// notIsolated isolates other cores than the port's, and permits SCHED_FIFO so that
// no other check fails.
func (p *fixture) notIsolated(cores string) {
	p.Write("sys/devices/system/cpu/isolated", cores)
	p.Write("proc/self/limits", "Max locked memory unlimited unlimited bytes\nMax realtime priority 50 50\n")
	p.Write("proc/sys/kernel/sched_rt_runtime_us", "-1\n")
}

// noIOMMU removes the IOMMU groups.
func (p *fixture) noIOMMU() {
	p.Remove("sys/kernel/iommu_groups")
	links, err := filepath.Glob(filepath.Join(p.Root, "sys/devices/pci0000:00/*/iommu_group"))
	require.NoError(p.T, err)
	for _, link := range links {
		require.NoError(p.T, os.Remove(link))
	}
}

// bindIxgbe binds the port to ixgbe.
func (p *fixture) bindIxgbe() {
	p.Remove(port0 + "/driver")
	p.Remove("run")
	p.Link(port0+"/driver", "sys/bus/pci/drivers/ixgbe")
	p.Link(port0+"/net/eth2/device", port0)
	p.Write(port0+"/net/eth2/carrier", "1\n")
	p.Write(port0+"/net/eth2/speed", "10000\n")
	p.Write(port0+"/net/eth2/flags", "0x1003\n")
	p.Link("sys/class/net/eth2", port0+"/net/eth2")
}

func (p *fixture) examiner() examiner {
	return examiner{
		root: p.Root,
		findLink: func(name string) (pci.Link, error) {
			if !(examiner{root: p.Root}).exists("sys/class/net", name) {
				return pci.Link{}, pci.ErrNoInterface
			}
			return pci.Link{Name: name, Kind: "device"}, nil
		},
		carries: func(name string) ([]string, error) { return p.used[name], nil },
		open: func(path string) error {
			name, _ := strings.CutPrefix(path, p.Root)
			if err := p.denied[name]; err != nil {
				return &os.PathError{Op: "open", Path: path, Err: err}
			}
			return openNode(path)
		},
	}
}

// spec is what the tests examine: ports of the 82599, with the numbers of a capture
// of one queue.
func spec(device string) Spec {
	s := Spec{
		Device: device,
		Family: Family{
			Name:    "Intel 82599",
			Match:   func(id pci.ID) (string, bool) { return "82599ES SFP+", id.Vendor == 0x8086 && id.Device == 0x10fb },
			None:    Check{"device", Failed, "this machine has no Intel 82599", "a capture needs one", "capture sim:"},
			Bus:     Bus{16, "line rate needs more than 10 Gb/s of the bus", "put the card into a slot of 5 GT/s with 8 lanes"},
			Instead: "Other ports: elsewhere",
			Holds:   825 * time.Microsecond,
		},
		Service: "ixcap.service",
		Needs:   Needs{Pages2M: 151, Pages1G: 3, Small2M: 65, Lock2M: 12 << 20, Lock1G: 2 << 30, Cores: 1},
		Bind: func(b Binding) string {
			command := "sudo bind " + b.Address
			if b.HugePages > 0 {
				command += fmt.Sprintf(" --hugepages %d@%d", b.HugePages, b.Node)
			}
			if b.Force {
				command += " --force"
			}
			return command
		},
	}
	return s
}

func (p *fixture) report() Report {
	p.T.Helper()
	r, err := p.examiner().examine(spec(""))
	require.NoError(p.T, err)
	return r
}

func (p *fixture) text() string {
	var b strings.Builder
	require.NoError(p.T, p.report().WriteText(&b))
	return b.String()
}
