package sim

// rxConfig holds the fields of registers that the receive path uses, decoded once
// per change.
type rxConfig struct {
	enabled bool // RXCTRL.RXEN
	pooled  bool // frames go to pools (poolConfig.on)
	open    bool // enabled, and the security block is not stopped

	unicast, multicast, broadcast bool // FCTRL: accept all of a kind
	addrs                         []uint64
	hashed                        bool // MCSTCTRL.MFE
	hashShift                     uint

	vlanFilter bool
	cfi, cfiOK bool
	tag        uint16 // VLNCTRL.VET
	extended   bool   // CTRL_EXT.EXTENDED_VLAN
	extTag     uint16

	maxFrame int // with CRC
	// lengthErrors: HLREG0.RXLNGTHERREN, a wrong length field makes a frame bad.
	lengthErrors bool
	strip        bool // HLREG0.RXCRCSTRP
	storeBad     bool // FCTRL.SBP
	pause        bool // MFLCN.RFCE
	discard      bool // MFLCN.DPF
	pass         bool // MFLCN.PMCF
	buffer       int  // RXPBSIZE[0] in bytes
	loop         bool // HLREG0.LPBK

	rss       uint32     // MRQC fields that are hashed, 0 without RSS
	perPool   uint32     // queues of a pool, 0 without VMDq
	pool      uint32     // PFVTCTL.DEF_PL, the default pool
	rssMask   [64]uint8  // index bits of RSS, by pool (PSRTYPE.RQPL)
	noHash    bool       // RXCSUM.PCSD clear: the descriptor holds no hash
	fragments bool       // RXCSUM.IPPCSE
	reta      [512]uint8 // the first of them are the table
	retaMask  uint32
	key       toeplitz
	keyBytes  [40]byte
	pools     poolConfig
	etypes    bool
	steering  bool // filters of flows are in use
	tuples    []tuple
	syn       uint32        // SYNQF
	fdir      *flowDirector // nil: off
	fdirMask  [8]fdirFields // by flow type
	fast      bool          // parse may take its fast path
	etqf      [8]uint32
	etqs      [8]uint32
	stamps    stampFilter
	ptpAt     int // where the PTP message of the last frame with TS begins
}

// configure decodes the registers. The device thread calls it after a write, before
// the next frame.
func (n *NIC) configure() {
	c := &n.rx.cfg
	fctrl, mcst, vln := n.reg[rFCTRL/4], n.reg[rMCSTCTRL/4], n.reg[rVLNCTRL/4]
	c.enabled = n.reg[rRXCTRL/4]&1 != 0
	c.open = c.enabled && n.reg[rSECRXCTRL/4]&secDisable == 0
	n.rx.started = n.rx.started || c.open // from now on the wire is read
	c.storeBad = fctrl&(1<<1) != 0
	c.multicast = fctrl&(1<<8) != 0
	c.unicast = fctrl&(1<<9) != 0
	c.broadcast = fctrl&(1<<10) != 0 || c.multicast
	c.hashed = mcst&(1<<2) != 0
	c.hashShift = [4]uint{4, 3, 2, 0}[mcst&3]
	c.addrs = c.addrs[:0]
	for i := range uint32(128) {
		if high := n.reg[(rRAL+8*i)/4+1]; high>>31 != 0 {
			c.addrs = append(c.addrs, uint64(n.reg[(rRAL+8*i)/4])|uint64(high&0xffff)<<32)
		}
	}
	c.tag = uint16(vln)
	c.cfi, c.cfiOK, c.vlanFilter = vln>>28&1 != 0, vln>>29&1 != 0, vln>>30&1 != 0
	c.extended = n.reg[rCTRLEXT/4]&(1<<26) != 0
	c.extTag = uint16(n.reg[rEXVET/4] >> 16)

	hl, mfl := n.reg[rHLREG0/4], n.reg[rMFLCN/4]
	c.maxFrame = 1518
	if hl&(1<<2) != 0 {
		c.maxFrame = int(n.reg[rMAXFRS/4] >> 16)
	}
	c.strip = hl&(1<<1) != 0
	c.lengthErrors = hl&(1<<27) != 0
	if c.strip != (n.reg[rRDRXCTL/4]&(1<<1) != 0) && c.enabled {
		// RDRXCTL.CRCStrip must equal HLREG0.RXCRCSTRP (datasheet 8.2.3.8.8). The
		// MAC strips the CRC, so HLREG0 decides.
		n.fault("RDRXCTL.CRCStrip differs from HLREG0.RXCRCSTRP")
	}
	c.loop = hl&(1<<15) != 0
	c.pass, c.discard = mfl&1 != 0, mfl&2 != 0
	c.pause = mfl&(1<<2|1<<3) != 0
	c.buffer = min(int(n.reg[rRXPBSIZE/4]&0xffc00), n.variant.rxBuffer()<<10)

	n.configureRSS(c)
	n.configureSwitch()
	c.pooled = c.pools.on
	n.configureQueues()
}

func (n *NIC) configureRSS(c *rxConfig) {
	mrqc := n.reg[rMRQC/4]
	c.rss, c.perPool = 0, 0
	switch mrqc & 0xf {
	case 0:
	case mrqeRSS:
		c.rss = mrqc & 0xffff0000
	case mrqePools64:
		c.perPool = 2
	case mrqePools32RSS:
		c.rss, c.perPool = mrqc&0xffff0000, 4
	case mrqePools64RSS:
		c.rss, c.perPool = mrqc&0xffff0000, 2
	default:
		n.fault("MRQC.MRQE %d: the model has RSS and VMDq without DCB; all frames go to queue 0", mrqc&0xf)
	}
	n.configurePools(c)
	csum := n.reg[rRXCSUM/4]
	c.noHash = csum&(1<<13) == 0
	c.fragments = c.noHash && csum&(1<<12) != 0
	var key [40]byte
	for i := range key {
		key[i] = byte(n.reg[rRSSRK/4+i/4] >> (8 * (i % 4)))
	}
	if c.rss != 0 && (key != c.keyBytes || c.key[0][0x80] == 0) {
		c.keyBytes = key
		c.key.newKey(&key)
	}
	c.retaMask = uint32(n.variant.rssEntries() - 1)
	for i := range n.variant.rssEntries() {
		at := rRETA/4 + i/4
		if i >= 128 {
			at = rERETA/4 + (i-128)/4
		}
		c.reta[i] = uint8(n.reg[at] >> (8 * (i % 4)) & n.variant.rssQueue())
	}
	n.configureSteering(c)
	n.configureStamps(&c.stamps)
	c.fast = !c.etypes && !c.stamps.overUDP() && !c.steering && !c.extended && !c.noHash && c.tag != ethIP4
}

// configureQueues decodes the fields that may change while a queue is enabled.
func (n *NIC) configureQueues() {
	n.rx.active = n.rx.active[:0]
	for i := range n.rx.q {
		q := &n.rx.q[i]
		// A disabled queue counts drops too.
		stat := n.reg[rRQSMR/4+i/4] >> (8 * (i % 4)) & 0xf
		q.packets, q.bytes, q.drops = cQPRC(stat)/4, cQBRC(stat)/4, cQPRDC(stat)/4
		if !q.enabled {
			continue
		}
		n.rx.active = append(n.rx.active, i)
		srr := n.reg[rxReg(i, qSRR)/4]
		q.size = int(srr&0x1f) << 10
		q.drop = srr&(1<<28) != 0 || n.reg[rDROPEN/4]&1 != 0 || n.rx.qde[i]&qdeEnable != 0
		kind := srr >> 25 & 7
		q.legacy = kind == 0
		if kind > 1 {
			n.fault("SRRCTL[%d].DESCTYPE %d: the model has legacy and advanced one-buffer descriptors", i, kind)
		}
		if q.size == 0 || q.size > 16<<10 {
			n.fault("SRRCTL[%d].BSIZEPACKET %d: 1 to 16 KiB", i, srr&0x1f)
		}
		q.stripTag = n.reg[rxReg(i, qDCTL)/4]&(1<<30) != 0
		q.hideTag = n.rx.qde[i]&qdeHideVLAN != 0
		q.vector = n.vectorOf(i, false)
		if q.vf != nil {
			q.vector = q.vf.vectorOf(i, false)
		}
	}
	n.tx.configure(n)
}
