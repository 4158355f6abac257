package pci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const database = `# list of PCI IDs
1af4  Red Hat, Inc.
	1041  Virtio 1.0 network device
8086  Intel Corporation
	1041  Another
	1572  Ethernet Controller X710 for 10GbE SFP+
		8086 0000  Ethernet Converged Network Adapter
C 02  Network controller
	1573  Not a device
`

func TestChipsAreNamedByTheDatabaseOrTheirMaker(t *testing.T) {
	root := t.TempDir()
	x710 := ID{Vendor: 0x8086, Device: 0x1572}
	require.Equal(t, "Intel chip", Chip(root, x710))
	require.Equal(t, "chip", Chip(root, ID{Vendor: 0xabcd}))
	path := filepath.Join(root, chipNames[1])
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(database), 0o600))
	for want, id := range map[string]ID{
		"Intel Corporation Ethernet Controller X710 for 10GbE SFP+": x710,
		"Red Hat, Inc. Virtio 1.0 network device":                   {Vendor: 0x1af4, Device: 0x1041},
		"Red Hat virtio chip":                                       {Vendor: 0x1af4, Device: 0x1572},
		"Intel chip":                                                {Vendor: 0x8086, Device: 0x1573},
	} {
		require.Equal(t, want, Chip(root, id))
	}
}

func FuzzFindChip(f *testing.F) {
	f.Add(database, uint16(0x8086), uint16(0x1572))
	f.Add("8086\n\t1572", uint16(0x8086), uint16(0x1572))
	f.Add("\t\n\t  \n#\n\t\t", uint16(0), uint16(0))
	f.Fuzz(func(t *testing.T, text string, vendor, device uint16) {
		id := ID{Vendor: vendor, Device: device}
		if name := findChip(strings.NewReader(text), id); name != "" {
			require.Contains(t, text, id.String()[5:])
		}
	})
}
