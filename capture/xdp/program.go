package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ixcap/ixcap/capture/internal/netif"
)

// Flags of BPF_PROG_LOAD and the offsets in struct xdp_md (linux/bpf.h).
const (
	hasFrags  = 1 << 5 // BPF_F_XDP_HAS_FRAGS: frames of several buffers
	devBound  = 1 << 6 // BPF_F_XDP_DEV_BOUND_ONLY: may call the driver's metadata kfuncs
	mdData    = 0
	mdDataEnd = 4
	mdMeta    = 8
	mdQueue   = 16
	actPass   = 2 // XDP_PASS
)

// Licenses of the program, as the kernel asks for them. The kernel lets only programs under
// a license compatible with the GPL read a frame's metadata. The program is this project's
// own, and it offers the forms with such calls under either of two licenses.
const (
	license         = "Apache-2.0"
	licenseMetadata = "Dual BSD/GPL"
)

// Functions of the kernel that read a frame's metadata. The driver must implement them.
const (
	tagFunction   = "bpf_xdp_metadata_rx_vlan_tag"  // tag that the device took out (Linux 6.8)
	stampFunction = "bpf_xdp_metadata_rx_timestamp" // of the device (Linux 6.3)
)

// metadata has the BTF type IDs of the functions that the program calls, 0 for none.
type metadata struct{ tag, stamp int32 }

// control is the value of the control map, which the program reads for every frame.
type control struct {
	Active uint32 // frames are redirected
	Max    uint32 // length of the longest frame that the wire carries
}

// tally is the value of the counters map for a queue, of one processor. Only the
// program writes to it.
type tally struct {
	Redirected uint64 // to the queue's socket
	Super      uint64 // longer than the wire carries: merged or not yet split
	Untagged   uint64 // no room to put the VLAN tag back
	NoSocket   uint64 // the queue has none
}

func (t *tally) add(o tally) {
	t.Redirected += o.Redirected
	t.Super += o.Super
	t.Untagged += o.Untagged
	t.NoSocket += o.NoSocket
}

// program is the XDP program of an interface, its maps and its attachment. Closing the
// attachment, or the end of the process, detaches it: it is a bpf_link.
type program struct {
	sockets  *ebpf.Map // XSKMAP: queue -> socket
	control  *ebpf.Map // array of one control
	counters *ebpf.Map // per-processor array: queue -> tally
	code     *ebpf.Program
	attached link.Link

	refused error // of the driver, the last one; nil if its first form was taken

	native bool // attached to the driver
	frags  bool // takes frames of several buffers
	tags   bool // puts stripped VLAN tags back
	stamps bool // puts a stamp before each frame
}

// newProgram creates the maps of an interface with so many queues, all without a socket.
func newProgram(queues int) (_ *program, err error) {
	p := &program{stamps: features.HaveProgramHelper(ebpf.XDP, asm.FnKtimeGetTaiNs) == nil}
	defer func() {
		if err != nil {
			_ = p.close()
			err = netif.Needs(err, rights...)
		}
	}()
	for _, m := range []struct {
		at   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&p.sockets, ebpf.MapSpec{Name: "ixcap_sockets", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues)}},
		{&p.control, ebpf.MapSpec{Name: "ixcap_control", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}},
		{&p.counters, ebpf.MapSpec{Name: "ixcap_counters", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 32, MaxEntries: uint32(queues)}},
	} {
		if *m.at, err = ebpf.NewMap(&m.spec); err != nil {
			return nil, fmt.Errorf("create BPF map %s: %w", m.spec.Name, err)
		}
	}
	return p, nil
}

// variant is a form of the program, and how it is attached.
type variant struct {
	metadata, frags bool
	flags           link.XDPAttachFlags
}

// variants are the forms for a port, the best first. Frames of several buffers are asked
// for where the longest frame needs them, or the driver: a veth then passes super-frames
// of its peer, which it else splits.
func variants(cfg *Config, m metadata, pieces bool) (all []variant) {
	add := func(metadata bool, flags link.XDPAttachFlags) {
		if !pieces {
			all = append(all, variant{metadata, false, flags})
		}
		all = append(all, variant{metadata, true, flags})
	}
	if cfg.Mode != Generic && m != (metadata{}) {
		add(true, link.XDPDriverMode)
	}
	if cfg.DeviceStamps {
		return all
	}
	if cfg.Mode != Generic {
		add(false, link.XDPDriverMode)
	}
	if cfg.Mode == Generic || cfg.Mode == Auto {
		add(false, link.XDPGenericMode)
		if pieces { // before Linux 6.9 the kernel makes one buffer of them
			all = append(all, variant{false, false, link.XDPGenericMode})
		}
	}
	return all
}

// errOccupied is returned if the interface has an XDP program already.
var errOccupied = errors.New("an XDP program is attached already. `bpftool net` and `bpftool link` name it; end its owner, or detach it with `ip link set dev INTERFACE xdp off`")

// attach loads the best form of the program that the interface takes and attaches it.
// x has the driver's features; pieces tells that frames need several buffers.
func (p *program) attach(index int, cfg *Config, sockets int, x netif.XDP, pieces bool) error {
	var last, refused error
	var m metadata
	if x.Tag {
		m.tag = kernelFunction(tagFunction)
	}
	if cfg.DeviceStamps {
		if m.stamp = kernelFunction(stampFunction); !x.Stamp || m.stamp == 0 {
			return errors.New("stamps=device: the driver does not tell XDP programs when the device received a frame. Leave it out: the program stamps without it")
		}
		p.stamps = true
	}
	for _, v := range variants(cfg, m, pieces) {
		err := p.try(index, cfg, sockets, v, m)
		if err == nil {
			p.refused = refused
			return nil
		}
		if errors.Is(err, unix.EPERM) {
			return netif.Needs(err, rights...)
		}
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
			return errOccupied
		}
		last = err
		if v.flags == link.XDPDriverMode {
			refused = err
		}
	}
	if cfg.Mode == Copy || cfg.Mode == ZeroCopy {
		return fmt.Errorf("%w. The driver may have no native XDP, or not for this MTU or these offloads: mode=generic works on any interface", last)
	}
	return last
}

func (p *program) try(index int, cfg *Config, sockets int, v variant, m metadata) error {
	spec := &ebpf.ProgramSpec{Name: "ixcap_xdp", Type: ebpf.XDP, License: license}
	if v.frags {
		spec.Flags |= hasFrags
	}
	if v.metadata {
		spec.License = licenseMetadata
		spec.Flags |= devBound
		spec.Ifindex = uint32(index)
	} else {
		m = metadata{}
	}
	spec.Instructions = p.instructions(cfg, sockets, m)
	code, err := ebpf.NewProgram(spec)
	if err != nil {
		return fmt.Errorf("load the XDP program: %w", err)
	}
	attached, err := link.AttachXDP(link.XDPOptions{Program: code, Interface: index, Flags: v.flags})
	if err != nil {
		return errors.Join(fmt.Errorf("attach the XDP program: %w", err), code.Close())
	}
	p.code, p.attached = code, attached
	p.native, p.frags, p.tags = v.flags == link.XDPDriverMode, v.frags, m.tag != 0
	return nil
}

// kernelFunction returns the BTF type ID of a function of the kernel, 0 if it has none.
func kernelFunction(name string) int32 {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return 0
	}
	var f *btf.Func
	if spec.TypeByName(name, &f) != nil {
		return 0
	}
	id, err := spec.TypeID(f)
	if err != nil {
		return 0
	}
	return int32(id)
}

// Registers of the program. The stack has the time at -24, the tag at -16 (EtherType, big endian) and
// -14 (PCP, DEI, VID), and the queue at -4.
const (
	ctx      = asm.R6
	stripped = asm.R7 // 1: the tag is on the stack
	queue    = asm.R8
	counts   = asm.R9 // tally of the queue
	stackTag = -16
	stackTCI = -14
	stackNow = -24
)

// instructions is the program.
//
//	inactive                   pass
//	queue without socket       count, pass
//	longer than the wire's MTU count, pass
//	not asked for              pass
//	else                       put the tag back, stamp, count, redirect
func (p *program) instructions(cfg *Config, sockets int, m metadata) asm.Instructions {
	ins := asm.Instructions{
		asm.Mov.Reg(ctx, asm.R1),
		asm.LoadMapValue(asm.R1, p.control.FD(), 0),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "pass"),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.StoreMem(asm.R10, -8, asm.R3, asm.Word),
		asm.LoadMem(queue, ctx, mdQueue, asm.Word),
		asm.StoreMem(asm.R10, -4, queue, asm.Word),
		asm.LoadMapPtr(asm.R1, p.counters.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Reg(counts, asm.R0),
		asm.JGE.Imm(queue, int32(sockets), "nosocket"),
		asm.Mov.Reg(asm.R1, ctx),
		asm.FnXdpGetBuffLen.Call(),
		asm.LoadMem(asm.R1, asm.R10, -8, asm.Word),
		asm.JGT.Reg(asm.R0, asm.R1, "super"),
		asm.Mov.Imm(stripped, 0),
	}
	if m.tag != 0 {
		ins = append(ins, readTag(m.tag)...)
	}
	ins = append(ins, filter(cfg)...)
	if m.tag != 0 {
		ins = append(ins, restoreTag()...)
	}
	if p.stamps {
		ins = append(ins, stamp(m.stamp)...)
	}
	ins = append(ins, count(0)...)
	ins = append(ins,
		asm.LoadMapPtr(asm.R1, p.sockets.FD()),
		asm.Mov.Reg(asm.R2, queue),
		asm.Mov.Imm(asm.R3, actPass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
	)
	for i, label := range []string{"super", "untagged", "nosocket"} {
		if label == "untagged" && m.tag == 0 {
			continue // the verifier refuses instructions that are never reached
		}
		lines := append(count(int16(8*(i+1))), asm.Ja.Label("pass"))
		lines[0] = lines[0].WithSymbol(label)
		ins = append(ins, lines...)
	}
	return append(ins, asm.Mov.Imm(asm.R0, actPass).WithSymbol("pass"), asm.Return())
}

// count adds one to the counter at an offset of the tally.
func count(offset int16) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, counts, offset, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(counts, offset, asm.R1, asm.DWord),
	}
}

// readTag stores the stripped tag on the stack.
func readTag(function int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R10, stackTag, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, stackTag),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, stackTCI),
		call(function),
		asm.JNE.Imm(asm.R0, 0, "whole"),
		asm.Mov.Imm(stripped, 1),
		asm.Mov.Reg(asm.R0, asm.R0).WithSymbol("whole"),
	}
}

// restoreTag writes the tag on the stack back into the frame, behind the addresses.
func restoreTag() asm.Instructions {
	const tagLen = 4
	ins := asm.Instructions{
		asm.JEq.Imm(stripped, 0, "tagged"),
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, -tagLen),
		asm.FnXdpAdjustHead.Call(),
		asm.JNE.Imm(asm.R0, 0, "untagged"),
		asm.LoadMem(asm.R2, ctx, mdData, asm.Word),
		asm.LoadMem(asm.R3, ctx, mdDataEnd, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.Add.Imm(asm.R1, 12+tagLen),
		asm.JGT.Reg(asm.R1, asm.R3, "untagged"),
	}
	for i := int16(0); i < 12; i += 4 {
		ins = append(ins, asm.LoadMem(asm.R1, asm.R2, i+tagLen, asm.Word), asm.StoreMem(asm.R2, i, asm.R1, asm.Word))
	}
	return append(ins,
		asm.LoadMem(asm.R1, asm.R10, stackTag, asm.Half),
		asm.StoreMem(asm.R2, 12, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, asm.R10, stackTCI, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.R2, 14, asm.R1, asm.Half),
		asm.Mov.Reg(asm.R0, asm.R0).WithSymbol("tagged"),
	)
}

// call calls a function of the kernel.
func call(function int32) asm.Instruction {
	return asm.Instruction{OpCode: asm.OpCode(asm.JumpClass).SetJumpOp(asm.Call), Src: asm.PseudoKfuncCall, Constant: int64(function)}
}

// metaLen is the length of the stamp before a frame: the time in ns, and the same
// inverted. It is that of CLOCK_TAI, or the device's, 0 for none. A driver that has no
// place for it leaves other bytes there.
const metaLen = 16

// stamp writes the stamp before the frame (XDP metadata). device is stampFunction, 0 for
// the time of the program.
func stamp(device int32) asm.Instructions {
	ins := asm.Instructions{
		asm.FnKtimeGetTaiNs.Call(),
		asm.StoreMem(asm.R10, stackNow, asm.R0, asm.DWord),
	}
	if device != 0 {
		ins = asm.Instructions{
			asm.Mov.Imm(asm.R1, 0),
			asm.StoreMem(asm.R10, stackNow, asm.R1, asm.DWord), // it stays 0 if the call fails
			asm.Mov.Reg(asm.R1, ctx),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, stackNow),
			call(device),
		}
	}
	return append(ins,
		asm.Mov.Reg(asm.R1, ctx),
		asm.Mov.Imm(asm.R2, -metaLen),
		asm.FnXdpAdjustMeta.Call(),
		asm.JNE.Imm(asm.R0, 0, "stamped"),
		asm.LoadMem(asm.R2, ctx, mdMeta, asm.Word),
		asm.LoadMem(asm.R3, ctx, mdData, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.Add.Imm(asm.R1, metaLen),
		asm.JGT.Reg(asm.R1, asm.R3, "stamped"),
		asm.LoadMem(asm.R1, asm.R10, stackNow, asm.DWord),
		asm.StoreMem(asm.R2, 0, asm.R1, asm.DWord),
		asm.Xor.Imm(asm.R1, -1),
		asm.StoreMem(asm.R2, 8, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R0, asm.R0).WithSymbol("stamped"),
	)
}

// set writes the control map.
func (p *program) set(c control) error {
	if err := p.control.Put(uint32(0), c); err != nil {
		return fmt.Errorf("write BPF map ixcap_control: %w", err)
	}
	return nil
}

// tally returns the counters of a queue, of all processors.
func (p *program) tally(queue int) (sum tally, err error) {
	var all []tally
	if err := p.counters.Lookup(uint32(queue), &all); err != nil {
		return sum, fmt.Errorf("read BPF map ixcap_counters: %w", err)
	}
	for _, t := range all {
		sum.add(t)
	}
	return sum, nil
}

// withoutSocket returns the frames that came on queues from the first one without a socket on.
func (p *program) withoutSocket(first int) (n uint64, err error) {
	for q := first; q < int(p.counters.MaxEntries()); q++ {
		t, err := p.tally(q)
		if err != nil {
			return 0, err
		}
		n += t.NoSocket
	}
	return n, nil
}

// close detaches the program and releases it.
func (p *program) close() error {
	var errs []error
	if p.attached != nil {
		errs = append(errs, p.attached.Close())
	}
	if p.code != nil {
		errs = append(errs, p.code.Close())
	}
	for _, m := range []*ebpf.Map{p.sockets, p.control, p.counters} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}
