package doctor

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAHealthyMachineIsReady(t *testing.T) {
	p := healthy(t)
	require.Equal(t, `0000:03:00.0  82599ES SFP+ [8086:10fb]
  interface    none (was eth2)
  driver       vfio-pci
  NUMA node    1
  IOMMU group  12, with 0000:03:00.1 (no driver)
0000:03:00.1  82599ES SFP+ [8086:10fb]
  interface    none
  driver       none
  NUMA node    unknown
  IOMMU group  12, with 0000:03:00.0 (vfio-pci)

checks for 0000:03:00.0
ok       kernel          Linux 6.1.0-56-amd64
ok       IOMMU           on (dmar0), 2 groups
ok       vfio-pci        loaded (group and container)
ok       IOMMU group     12, with 0000:03:00.1 (no driver)
ok       driver          vfio-pci (interface was eth2)
ok       device node     /dev/vfio/12 and /dev/vfio/vfio accessible
ok       slot            PCIe 5 GT/s x8, 32 Gb/s
ok       huge pages      151 of 2 MiB free on NUMA node 1, 151 needed
ok       memlock         limit 12 MiB for root, 12 MiB needed
ok       isolated cores  14-15 on NUMA node 1
ok       poller cores    15 (isolated, without timer tick, NUMA node 1) of cores 8-15
ok       SCHED_FIFO      not permitted for root, not needed on isolated cores
ok       RT throttling   on, no effect without SCHED_FIFO
ok       CPU quota       none
ok       TSC             invariant; clock source tsc
ok       governor        performance on all cores on NUMA node 1
`, p.text())
	r := p.report()
	require.True(t, r.Ready())
	require.Equal(t, []int{14, 15}, r.Cores)
	require.False(t, r.Pages1G)
	for _, c := range r.Checks {
		require.Empty(t, c.Why+c.Fix, c.Name)
	}
}

// Each case changes one thing of the healthy machine; exactly one check reports it.
func TestEachObstacleFailsItsCheck(t *testing.T) {
	const bind = "sudo bind 0000:03:00.0"
	const peer = "sys/devices/pci0000:00/0000:03:00.1"
	for _, c := range []struct {
		name, check string
		state       State
		found, fix  string
		spoil       func(p *fixture)
	}{
		{"old kernel", "kernel", Failed, "Linux 5.10.0", "5.14", func(p *fixture) { p.Write("proc/sys/kernel/osrelease", "5.10.0\n") }},
		{"kernel without a version", "kernel", Unknown, "version not readable", "", func(p *fixture) { p.Remove("proc/sys") }},
		{"IOMMU not enabled", "IOMMU", Failed, "(VT-d, ACPI table DMAR), not used by the kernel", "boot the kernel with: intel_iommu=on iommu=pt\n", func(p *fixture) {
			p.noIOMMU()
			p.Write("sys/firmware/acpi/tables/DMAR", "")
			p.Write("proc/cmdline", "quiet\n")
		}},
		{"IOMMU enabled, not used", "IOMMU", Failed, "not used by the kernel despite intel_iommu=on", "dmesg", func(p *fixture) {
			p.noIOMMU()
			p.Write("sys/firmware/acpi/tables/DMAR", "")
		}},
		{"IOMMU of AMD not used", "IOMMU", Failed, "AMD-Vi, ACPI table IVRS", "dmesg", func(p *fixture) {
			p.noIOMMU()
			p.Write("sys/firmware/acpi/tables/IVRS", "")
		}},
		{"VFIO's mode without an IOMMU", "IOMMU", Failed, "off: not offered by the firmware", "enable VT-d", func(p *fixture) {
			p.noIOMMU()
			p.Write("sys/kernel/iommu_groups/0/name", "vfio-noiommu\n")
		}},
		{"IOMMU off in Intel's firmware", "IOMMU", Failed, "off: not offered by the firmware", "enable VT-d", (*fixture).noIOMMU},
		{"IOMMU off in another firmware", "IOMMU", Failed, "off: not offered by the firmware", "AMD-Vi", func(p *fixture) {
			p.noIOMMU()
			p.Write("proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : constant_tsc nonstop_tsc\n")
		}},
		{"IOMMU disabled", "IOMMU", Failed, "disabled on the kernel command line", "remove iommu=off", func(p *fixture) {
			p.noIOMMU()
			p.Write("proc/cmdline", "iommu=off\n")
		}},
		{"port bound to the kernel's driver", "driver", Failed, "ixgbe, interface eth2", bind, (*fixture).bindIxgbe},
		{"port in use", "driver", Failed, "ixgbe, interface eth2, in use: address 10.0.0.1/24, default route", bind + " --force    # or move the configuration to another port first", func(p *fixture) {
			p.bindIxgbe()
			p.used["eth2"] = []string{"address 10.0.0.1/24", "default route via 10.0.0.254"}
		}},
		{"port without driver", "driver", Failed, "none", bind, func(p *fixture) { p.Remove(port0 + "/driver") }},
		{"group with a NIC in use", "IOMMU group", Failed, "12, with functions in use by the kernel: 0000:03:00.1 (ixgbe)", "sudo bind 0000:03:00.1 --force", func(p *fixture) { p.Link(peer+"/driver", "sys/bus/pci/drivers/ixgbe") }},
		{"group with a disk in use", "IOMMU group", Failed, "0000:03:00.1 (nvme)", "echo 0000:03:00.1 | sudo tee /sys/bus/pci/devices/0000:03:00.1/driver/unbind", func(p *fixture) {
			p.Link(peer+"/driver", "sys/bus/pci/drivers/nvme")
			p.Write(peer+"/class", "0x010802\n")
		}},
		{"no vfio-pci", "vfio-pci", Failed, "no module vfio-pci for this kernel", "linux-modules-extra", func(p *fixture) {
			p.Remove("sys/bus/pci/drivers/vfio-pci")
			p.Write("lib/modules/6.1.0-56-amd64/modules.dep", "")
		}},
		{"node of another user", "device node", Failed, "no access for root: /dev/vfio/12 (root:root 0640)", bind, func(p *fixture) {
			p.denied["/dev/vfio/12"] = syscall.EACCES
			require.NoError(p.T, os.Chmod(filepath.Join(p.Root, "dev/vfio/12"), 0o640))
		}},
		{"node in use", "device node", Failed, "/dev/vfio/12 in use", "sudo fuser -v /dev/vfio/12", func(p *fixture) { p.denied["/dev/vfio/12"] = syscall.EBUSY }},
		{"node missing", "device node", Failed, "/dev/vfio/12 missing", bind, func(p *fixture) { p.Remove("dev/vfio/12") }},
		{"device's node of another user, group's node missing", "device node", Failed, "no access for root: /dev/iommu (root:root 0644); /dev/vfio/12 missing", bind, func(p *fixture) {
			p.Write(port0+"/vfio-dev/vfio0/dev", "511:0\n")
			p.Write("dev/vfio/devices/vfio0", "")
			p.Write("dev/iommu", "")
			p.denied["/dev/iommu"] = syscall.EACCES
			p.Remove("dev/vfio/12")
		}},
		{"narrow slot", "slot", Warning, "PCIe 5 GT/s x2, 8 Gb/s", "8 lanes", func(p *fixture) { p.Write(port0+"/current_link_width", "2\n") }},
		{"too few huge pages", "huge pages", Failed, "150 of 2 MiB free on NUMA node 1, 151 needed", bind + " --hugepages 201@1", func(p *fixture) { p.pages(pool2, 200, 150) }},
		{"huge pages of 1 GiB, without small ones for the index", "huge pages", Failed, "64 of 2 MiB free", "--hugepages 151@1", func(p *fixture) {
			p.pages(pool2, 64, 64)
			p.pages(pool1, 3, 3)
		}},
		{"no huge pages at all", "huge pages", Unknown, "has no pages of 2MiB", "", func(p *fixture) {
			p.Remove("sys/kernel/mm/hugepages")
			p.Remove(pool2)
		}},
		{"low memlock", "memlock", Failed, "limit 8 MiB for root, 12 MiB needed", "sudo prlimit --pid $$ --memlock=unlimited", func(p *fixture) {
			p.Write("proc/self/limits", "Max locked memory 8388608 unlimited bytes\n")
		}},
		{"unreadable memlock", "memlock", Unknown, "limit not readable", "", func(p *fixture) { p.Remove("proc/self/limits") }},
		{"no isolated cores", "isolated cores", Warning, "none on NUMA node 1", "isolcpus=managed_irq,domain,15 nohz_full=15 rcu_nocbs=15", func(p *fixture) { p.notIsolated("\n") }},
		{"isolated cores elsewhere", "isolated cores", Warning, "none on NUMA node 1; 2-3 on other nodes", "domain,15 ", func(p *fixture) { p.notIsolated("2-3\n") }},
		{"neither isolated cores nor SCHED_FIFO", "SCHED_FIFO", Warning, "not permitted for root", "rtprio 50", func(p *fixture) {
			p.notIsolated("\n")
			p.known = []string{"isolated cores"}
			p.Write("proc/self/limits", "Max locked memory unlimited unlimited bytes\nMax realtime priority 0 0\n")
		}},
		{"SCHED_FIFO with a limit", "RT throttling", Warning, "stopped for 50ms per 1s", "echo -1 | sudo tee /proc/sys/kernel/sched_rt_runtime_us", func(p *fixture) {
			p.notIsolated("\n")
			p.known = []string{"isolated cores"}
			p.Write("proc/sys/kernel/sched_rt_runtime_us", "950000\n")
		}},
		{"unknown limit of SCHED_FIFO", "RT throttling", Unknown, "limit not readable", "", func(p *fixture) { p.Remove("proc/sys/kernel/sched_rt_runtime_us") }},
		{"isolated cores with ticks", "isolated cores", Warning, "14-15 on NUMA node 1, 15 with timer tick", "nohz_full=14-15", func(p *fixture) { p.Write("sys/devices/system/cpu/nohz_full", "14\n") }},
		{"small machine", "isolated cores", Warning, "none", "use a machine with more cores", func(p *fixture) {
			p.notIsolated("")
			p.Write("sys/devices/system/node/node1/cpulist", "8-9\n")
		}},
		{"CPU quota of the service", "CPU quota", Warning, "control group /system.slice/ixcap.service: 50ms of CPU time in each 100ms (cpu.max), throttled in 7 periods for 93ms",
			"sudo systemctl set-property ixcap.service CPUQuota=", func(p *fixture) {
				p.Write("proc/self/cgroup", "0::/user.slice\n")
				p.Write("proc/self/mountinfo", "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
				p.Write("sys/fs/cgroup/system.slice/ixcap.service/cpu.max", "50000 100000\n")
				p.Write("sys/fs/cgroup/system.slice/ixcap.service/cpu.stat", "nr_throttled 7\nthrottled_usec 93000\n")
			}},
		{"CPU quota of a container", "CPU quota", Warning, "control group /docker/abc: 1s of CPU time in each 100ms (cpu.cfs_quota_us)", "docker run --cpus", func(p *fixture) {
			p.Write("proc/self/cgroup", "2:cpu,cpuacct:/docker/abc\n")
			p.Write("proc/self/mountinfo", "30 25 0:26 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n")
			p.Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "1000000\n")
			p.Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
		}},
		{"TSC that is not invariant", "TSC", Warning, "not invariant; clock source tsc", "+invtsc", func(p *fixture) { p.Write("proc/cpuinfo", "flags : constant_tsc\n") }},
		{"TSC that is not trusted", "TSC", Warning, "invariant, but clock source hpet", "dmesg", func(p *fixture) {
			p.Write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n")
		}},
		{"governor", "governor", Warning, "powersave on cores 9,11-12", "echo performance | sudo tee", func(p *fixture) {
			for _, core := range []int{9, 11, 12} {
				p.Write(fmt.Sprintf("sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", core), "powersave\n")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := healthy(t)
			c.spoil(p)
			r, err := p.examiner().examine(spec("0000:03:00.0"))
			require.NoError(t, err)
			seen := false
			for _, got := range r.Checks {
				if got.Name != c.check && !slices.Contains(p.known, got.Name) {
					require.Contains(t, []State{OK, Unknown}, got.State, "%+v", got)
					continue
				}
				if got.Name != c.check {
					continue
				}
				seen = true
				require.Equal(t, c.state, got.State, "%+v", got)
				require.Contains(t, got.Found, c.found)
				require.Contains(t, got.Fix, c.fix)
				if got.State != Unknown {
					require.NotEmpty(t, got.Why)
					require.NotEmpty(t, got.Fix)
				}
			}
			require.True(t, seen)
			require.Equal(t, c.state != Failed, r.Ready())
			for line := range strings.Lines(p.text()) {
				line = strings.ReplaceAll(line, p.Root, "")
				if !strings.Contains(line, "sudo") && !strings.Contains(line, "boot the kernel") && !strings.Contains(line, "install") {
					require.LessOrEqual(t, len(line)-1, textWidth, line)
				}
			}
		})
	}
}

func TestAlternativesAreOK(t *testing.T) {
	for name, c := range map[string]struct {
		check, found string
		change       func(p *fixture)
	}{
		"pages of 1 GiB": {"huge pages", "3 of 1 GiB and 65 of 2 MiB free on NUMA node 1, 3 and 65 needed", func(p *fixture) {
			p.pages(pool2, 65, 65)
			p.pages(pool1, 4, 3)
			p.Write("proc/self/limits", "Max locked memory unlimited unlimited bytes\n")
		}},
		"a capability instead of a limit": {"memlock", "no limit for root (CAP_IPC_LOCK)", func(p *fixture) {
			p.Write("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000004000\n")
			p.Remove("proc/self/limits")
		}},
		"a real-time limit": {"SCHED_FIFO", "permitted for root up to priority 50", func(p *fixture) {
			p.Write("proc/self/limits", "Max locked memory unlimited unlimited bytes\nMax realtime priority 50 50\n")
		}},
		"a capability for SCHED_FIFO": {"SCHED_FIFO", "permitted for root (CAP_SYS_NICE)", func(p *fixture) {
			p.Write("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000800000\n")
		}},
		"SCHED_FIFO that isolated cores make needless": {"RT throttling", "on, no effect on isolated cores without SCHED_FIFO", func(p *fixture) {
			p.Write("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000800000\n")
		}},
		"no throttling": {"RT throttling", "off", func(p *fixture) { p.Write("proc/sys/kernel/sched_rt_runtime_us", "-1\n") }},
		"a hyperthread": {"poller cores", "15 (isolated, without timer tick, hyperthread of 14, NUMA node 1) of cores 8-15", func(p *fixture) {
			p.Write("sys/devices/system/cpu/cpu15/topology/thread_siblings_list", "14-15\n")
		}},
		"the device's own node": {"device node", "/dev/vfio/devices/vfio0 and /dev/iommu accessible", func(p *fixture) {
			p.Write(port0+"/vfio-dev/vfio0/dev", "511:0\n")
			p.Write("dev/vfio/devices/vfio0", "")
			p.Write("dev/iommu", "")
		}},
		"the group's node where the device's own is closed": {"device node", "/dev/vfio/12 and /dev/vfio/vfio accessible", func(p *fixture) {
			p.Write(port0+"/vfio-dev/vfio0/dev", "511:0\n")
			p.Write("dev/vfio/devices/vfio0", "")
			p.Write("dev/iommu", "")
			p.denied["/dev/vfio/devices/vfio0"] = syscall.EACCES
		}},
		"no frequency scaling": {"governor", "none, no frequency scaling", func(p *fixture) { p.Remove("sys/devices/system/cpu/cpu9") }},
		"another architecture": {"TSC", "none, not an x86 processor; clock source arch_sys_counter", func(p *fixture) {
			p.Write("proc/cpuinfo", "Features : fp\n")
			p.Write("sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter\n")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy(t)
			c.change(p)
			r := p.report()
			require.True(t, r.Ready())
			require.Equal(t, c.check == "huge pages", r.Pages1G)
			for _, got := range r.Checks {
				if got.Name == c.check {
					require.Equal(t, Check{Name: c.check, State: OK, Found: c.found}, got)
					return
				}
			}
			t.Fatal("no such check")
		})
	}
}

func TestTheLinkIsListedAndAFreePortSelected(t *testing.T) {
	p := healthy(t)
	p.bindIxgbe()
	require.Contains(t, p.text(), "  interface    eth2, up, carrier, 10 Gb/s\n  driver       ixgbe\n")
	require.Equal(t, "0000:03:00.0", p.report().Device, "both ports are free: the first")
	p.used["eth2"] = []string{"address 10.0.0.1/24"}
	require.Equal(t, "0000:03:00.1", p.report().Device)
	p.Write(port0+"/net/eth2/carrier", "0\n")
	p.Write(port0+"/net/eth2/speed", "-1\n")
	require.Contains(t, p.text(), "eth2, up, no carrier\n")
	p.Write(port0+"/net/eth2/flags", "0x1002\n")
	require.Contains(t, p.text(), "eth2, down (link state unknown)\n")
}

func TestAMachineWithoutAPort(t *testing.T) {
	p := healthy(t)
	p.Remove("sys/bus/pci/devices/0000:03:00.0")
	p.Remove("sys/bus/pci/devices/0000:03:00.1")
	r := p.report()
	require.False(t, r.Ready())
	require.Empty(t, r.Device)
	require.Equal(t, "device", r.Checks[0].Name)
	require.Contains(t, r.Checks[0].Fix, "sim:")
	require.Greater(t, len(r.Checks), 6, "the machine is examined without a port")
	p.Remove("sys/bus")
	require.Equal(t, "device", p.report().Checks[0].Name, "no PCI bus")
}

func TestNamesOfDevices(t *testing.T) {
	p := healthy(t)
	for _, name := range []string{"0000:03:00.0", "eth2", "vfio-group:eth2", "vfio-iommufd:0000:03:00.0"} {
		r, err := p.examiner().examine(spec(name))
		require.NoError(t, err, name)
		require.Equal(t, "0000:03:00.0", r.Device)
	}
	for name, want := range map[string]string{
		"eth9":         `interface "eth9": no such interface`,
		"03:00.0":      "the domain is missing (most likely 0000:03:00.0)",
		"0000:09:00.0": "look up 0000:09:00.0: no such PCI function",
		"ens5":         "interface ens5, kernel driver virtio-pci, no IOMMU group: not a port of an Intel 82599, but of Red Hat virtio chip. Other ports: elsewhere",
	} {
		_, err := p.examiner().examine(spec(name))
		require.ErrorContains(t, err, want)
	}
}

func TestJSON(t *testing.T) {
	p := healthy(t)
	p.bindIxgbe()
	var b strings.Builder
	require.NoError(t, p.report().WriteJSON(&b))
	var got struct {
		Ready  bool
		Device string
		Checks []Check
	}
	require.NoError(t, json.Unmarshal([]byte(b.String()), &got))
	require.False(t, got.Ready)
	require.Equal(t, "0000:03:00.0", got.Device)
	require.Equal(t, p.report().Checks, got.Checks)

	var keys struct {
		Ready         *bool
		Ports, Checks []json.RawMessage
		IsolatedCores []int `json:"isolated_cores"`
		Pages1GiB     *bool `json:"pages_1gib"`
	}
	d := json.NewDecoder(strings.NewReader(b.String()))
	require.NoError(t, d.Decode(&keys))
	require.NotNil(t, keys.Ready)
	require.False(t, *keys.Pages1GiB)
	require.Equal(t, []int{14, 15}, keys.IsolatedCores)
	require.JSONEq(t, `{
		"address": "0000:03:00.0", "id": "8086:10fb", "model": "82599ES SFP+", "driver": "ixgbe", "numa_node": 1,
		"interfaces": [{"name": "eth2", "up": true, "carrier": true, "speed_mbps": 10000}], "former_interface": "",
		"iommu_group": 12, "iommu_group_peers": [{"address": "0000:03:00.1", "driver": ""}]
	}`, string(keys.Ports[0]))
	require.JSONEq(t, `{"name": "kernel", "state": "ok", "found": "Linux 6.1.0-56-amd64"}`, string(keys.Checks[0]))
}

func TestJSONKeysAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/JSON.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## doctor\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	p := healthy(t)
	p.bindIxgbe()
	var b strings.Builder
	require.NoError(t, p.report().WriteJSON(&b))
	keys := regexp.MustCompile(`"([^"]+)": `).FindAllStringSubmatch(b.String(), -1)
	require.Greater(t, len(keys), 30)
	for _, key := range keys {
		require.Regexp(t, "^[a-z0-9_]+$", key[1])
		require.Contains(t, section, "`"+key[1]+"`")
	}
}

// Every check of this machine has a finding.
func TestThisMachineIsExamined(t *testing.T) {
	r, err := Examine(spec(""))
	require.NoError(t, err)
	require.NotEmpty(t, r.Checks)
	for _, c := range r.Checks {
		require.NotEmpty(t, c.Found, c.Name)
	}
}
