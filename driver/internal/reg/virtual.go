package reg

// Registers of a virtual function (8.3), in its BAR 0. Those of its receive queues are
// at the offsets of the physical function's first ones.
var (
	VirtualTable []*Row

	VFCTRL     = virtual("VFCTRL", each(0x00000, 4, 1), WO, "8.3.2")(0)
	VFCTRL_RST = VFCTRL.bit("RST", 26)
	VFSTATUS   = virtual("VFSTATUS", each(0x00008, 4, 1), RO, "8.3.2")(0)
	VFLINKS    = virtual("VFLINKS", each(0x00010, 4, 1), RO, "8.3.2")(0)

	VTEICR            = virtual("VTEICR", each(0x00100, 4, 1), RC, "8.3.4")(0)
	VTEICS            = virtual("VTEICS", each(0x00104, 4, 1), WO, "8.3.4")(0)
	VTEIMS            = virtual("VTEIMS", each(0x00108, 4, 1), RW, "8.3.4")(0)
	VTEIMC            = virtual("VTEIMC", each(0x0010C, 4, 1), WO, "8.3.4")(0)
	VTEIAC            = virtual("VTEIAC", each(0x00110, 4, 1), RW, "8.3.4")(0)
	VTEIAM            = virtual("VTEIAM", each(0x00114, 4, 1), RW, "8.3.4")(0)
	VTIVAR            = virtual("VTIVAR", each(0x00120, 4, 4), RW, "8.3.4")
	VTIVAR_RX         = [2]Field{VTIVAR.bits("RX0", 1, 0), VTIVAR.bits("RX1", 17, 16)}
	VTIVAR_RX_VALID   = [2]Field{VTIVAR.bit("RX_VALID0", 7), VTIVAR.bit("RX_VALID1", 23)}
	VTIVAR_MISC       = virtual("VTIVAR_MISC", each(0x00140, 4, 1), RW, "8.3.4")(0)
	VTIVAR_MISC_OTHER = VTIVAR_MISC.bits("OTHER", 1, 0) // vector of the mailbox
	VTIVAR_MISC_VALID = VTIVAR_MISC.bit("VALID", 7)
	VTEITR            = virtual("VTEITR", each(0x00820, 4, 2), RW, "8.3.4")

	VFMBMEM         = virtual("VFMBMEM", each(0x00200, 4, 16), RW, "8.3.5")
	VFMAILBOX       = virtual("VFMAILBOX", each(0x002FC, 4, 1), RC, "8.3.5")(0)
	VFMAILBOX_REQ   = VFMAILBOX.bit("REQ", 0)
	VFMAILBOX_ACK   = VFMAILBOX.bit("ACK", 1)
	VFMAILBOX_VFU   = VFMAILBOX.bit("VFU", 2)
	VFMAILBOX_PFSTS = VFMAILBOX.bit("PFSTS", 4)
	VFMAILBOX_PFACK = VFMAILBOX.bit("PFACK", 5)
	VFMAILBOX_RSTI  = VFMAILBOX.bit("RSTI", 6)
	VFMAILBOX_RSTD  = VFMAILBOX.bit("RSTD", 7)

	VFPSRTYPE      = virtual("VFPSRTYPE", each(0x00300, 4, 1), RW, "8.3.6")(0)
	VFPSRTYPE_RQPL = VFPSRTYPE.bits("RQPL", 31, 29)

	VFTDBAL          = virtual("VFTDBAL", vfQueue(0x00), RW, "8.3.6")
	VFTDBAH          = virtual("VFTDBAH", vfQueue(0x04), RW, "8.3.6")
	VFTDLEN          = virtual("VFTDLEN", vfQueue(0x08), RW, "8.3.6")
	VFTDH            = virtual("VFTDH", vfQueue(0x10), RO, "8.3.6")
	VFTDT            = virtual("VFTDT", vfQueue(0x18), RW, "8.3.6")
	VFTXDCTL         = virtual("VFTXDCTL", vfQueue(0x28), RW, "8.3.6")
	VFTXDCTL_PTHRESH = VFTXDCTL.bits("PTHRESH", 6, 0)
	VFTXDCTL_HTHRESH = VFTXDCTL.bits("HTHRESH", 14, 8)
	VFTXDCTL_WTHRESH = VFTXDCTL.bits("WTHRESH", 22, 16)
	VFTXDCTL_ENABLE  = VFTXDCTL.bit("ENABLE", 25)
	VFDCA_TXCTRL     = virtual("VFDCA_TXCTRL", vfQueue(0x0C), RW, "8.3.6")
	VFTDWBAL         = virtual("VFTDWBAL", vfQueue(0x38), RW, "8.3.6")
	VFTDWBAH         = virtual("VFTDWBAH", vfQueue(0x3C), RW, "8.3.6")

	// Counters: they wrap and are not cleared by reading.
	VFGPRC     = virtual("VFGPRC", each(0x0101C, 4, 1), RO, "8.3.7")(0)
	VFGORC_LSB = virtual("VFGORC_LSB", each(0x01020, 4, 1), RO, "8.3.7")(0)
	VFGORC_MSB = virtual("VFGORC_MSB", each(0x01024, 4, 1), RO, "8.3.7")(0)
	VFMPRC     = virtual("VFMPRC", each(0x01034, 4, 1), RO, "8.3.7")(0)
	VFGPTC     = virtual("VFGPTC", each(0x0201C, 4, 1), RO, "8.3.7")(0)
	VFGOTC_LSB = virtual("VFGOTC_LSB", each(0x02020, 4, 1), RO, "8.3.7")(0)
	VFGOTC_MSB = virtual("VFGOTC_MSB", each(0x02024, 4, 1), RO, "8.3.7")(0)
)

// vfQueue is the place of a register of a virtual function's 8 transmit queues.
func vfQueue(at Offset) span { return each(0x02000+at, 0x40, 8) }

// virtual declares a register of a virtual function, as array does.
func virtual(name string, place span, a Access, section string) Array {
	r := &Row{Name: name, Access: a, Section: section, place: place}
	VirtualTable = append(VirtualTable, r)
	return r.At
}
