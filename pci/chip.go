package pci

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// chipNames are where distributions install the PCI ID database (pci.ids).
var chipNames = []string{"usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"}

// vendors are the makers of network chips, for machines without that database.
var vendors = map[uint16]string{
	0x1022: "AMD", 0x10ec: "Realtek", 0x1425: "Chelsio", 0x14e4: "Broadcom", 0x15ad: "VMware", 0x15b3: "Mellanox", 0x177d: "Marvell Cavium",
	0x1924: "Solarflare", 0x19e5: "Huawei", 0x1ae0: "Google", 0x1af4: "Red Hat virtio", 0x1d0f: "Amazon", 0x8086: "Intel",
}

// Chip is the name of a chip, such as "Intel Corporation 82574L Gigabit Network
// Connection". Without the database of PCI IDs below root it is "Intel chip", or "chip".
func Chip(root string, id ID) string {
	for _, path := range chipNames {
		f, err := os.Open(filepath.Join(root, path))
		if err != nil {
			continue
		}
		name := findChip(f, id)
		f.Close()
		if name != "" {
			return name
		}
	}
	return strings.TrimSpace(vendors[id.Vendor] + " chip")
}

// findChip finds a chip in the PCI ID database: a line "VVVV  NAME" for each vendor,
// followed by a line "\tDDDD  NAME" for each of its devices (pci.ids(5)). It is "" if
// the device is not there.
func findChip(database io.Reader, id ID) string {
	vendor := ""
	for lines := bufio.NewScanner(database); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "\t\t") {
			continue
		}
		number, name, _ := strings.Cut(strings.TrimPrefix(line, "\t"), "  ")
		own := strings.HasPrefix(line, "\t")
		switch {
		case !own && vendor != "":
			return ""
		case !own && number == id.String()[:4]:
			vendor = name
		case own && vendor != "" && number == id.String()[5:]:
			return vendor + " " + name
		}
	}
	return ""
}
