package xdp

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Offsets of the headers, from the start of the frame without tags.
const (
	etherLen  = 14
	ipv4Len   = 20
	ipv6Len   = 40
	portsLen  = 4
	protoTCP  = 6
	protoUDP  = 17
	typeIPv4  = 0x0800
	typeIPv6  = 0x86dd
	typeVLAN  = 0x8100
	typeQinQ  = 0x88a8
	noVLAN    = 0xffff
	fragments = 0x1fff // offset field of IPv4
)

// Registers of the filter: start of the frame, later of the frame without the tags
// before the headers; its end; scratch.
const (
	etherType = asm.R0
	protocol  = asm.R1
	start     = asm.R2
	end       = asm.R3
	scratch   = asm.R4
	vlanID    = asm.R5
)

// filter jumps to "pass" unless the frame is one that the capture takes. It falls
// through to the instruction that follows it otherwise.
func filter(cfg *Config) asm.Instructions {
	list, hit, miss := cfg.Take, "take", "pass"
	if len(cfg.Pass) != 0 {
		list, hit, miss = cfg.Pass, "pass", "take"
	}
	if len(list) == 0 {
		return nil
	}
	ins := asm.Instructions{
		asm.LoadMem(start, ctx, mdData, asm.Word),
		asm.LoadMem(end, ctx, mdDataEnd, asm.Word),
	}
	within := func(n int32) {
		ins = append(ins, asm.Mov.Reg(scratch, start), asm.Add.Imm(scratch, n), asm.JGT.Reg(scratch, end, miss))
	}
	within(etherLen)
	ins = append(ins, load16(etherType, 12)...)
	ins = append(ins, walkTags()...)
	ports := false
	for _, m := range list {
		switch m.Field {
		case VLAN:
			ins = append(ins, asm.JEq.Imm(vlanID, int32(m.Value), hit))
		case EtherType:
			ins = append(ins, asm.JEq.Imm(etherType, int32(m.Value), hit))
		default:
			ports = true
		}
	}
	if ports {
		ins = append(ins, asm.JEq.Imm(etherType, typeIPv4, "ipv4"), asm.JEq.Imm(etherType, typeIPv6, "ipv6"), asm.Ja.Label(miss))
		ins = append(ins, asm.Mov.Reg(start, start).WithSymbol("ipv4"))
		within(etherLen + ipv4Len)
		ins = append(ins, asm.LoadMem(protocol, start, etherLen+9, asm.Byte))
		ins = append(ins, load16(scratch, etherLen+6)...)
		ins = append(ins, asm.And.Imm(scratch, fragments), asm.JNE.Imm(scratch, 0, miss),
			asm.LoadMem(scratch, start, etherLen, asm.Byte), asm.And.Imm(scratch, 15), asm.LSh.Imm(scratch, 2),
			asm.Add.Reg(start, scratch), asm.Ja.Label("ports"))
		ins = append(ins, asm.Mov.Reg(start, start).WithSymbol("ipv6"))
		within(etherLen + ipv6Len)
		ins = append(ins, asm.LoadMem(protocol, start, etherLen+6, asm.Byte), asm.Add.Imm(start, ipv6Len))
		ins = append(ins, asm.Mov.Reg(start, start).WithSymbol("ports"))
		within(etherLen + portsLen)
		ins = append(ins, matchPorts(list, hit, miss)...)
	}
	if !ports { // matchPorts ends with a jump, and the verifier refuses what is never reached
		ins = append(ins, asm.Ja.Label(miss))
	}
	return append(ins, asm.Mov.Reg(asm.R0, asm.R0).WithSymbol("take"))
}

// load16 loads a big endian field of the frame.
func load16(dst asm.Register, offset int16) asm.Instructions {
	return asm.Instructions{asm.LoadMem(dst, start, offset, asm.Half), asm.HostTo(asm.BE, dst, asm.Half)}
}

// walkTags skips two VLAN tags: etherType is then that behind them, start is moved by
// their length, and vlanID is the identifier of the outermost tag or noVLAN.
func walkTags() asm.Instructions {
	ins := asm.Instructions{
		asm.Mov.Imm(vlanID, noVLAN),
		asm.JEq.Imm(stripped, 0, "tag0"),
		asm.LoadMem(vlanID, asm.R10, stackTCI, asm.Half),
		asm.And.Imm(vlanID, 0xfff),
	}
	for i := range 2 {
		here, read, known, next := fmt.Sprintf("tag%d", i), fmt.Sprintf("read%d", i), fmt.Sprintf("known%d", i), fmt.Sprintf("tag%d", i+1)
		ins = append(ins,
			asm.JEq.Imm(etherType, typeVLAN, read).WithSymbol(here),
			asm.JEq.Imm(etherType, typeQinQ, read),
			asm.Ja.Label("tag2"),
			asm.Mov.Reg(scratch, start).WithSymbol(read),
			asm.Add.Imm(scratch, etherLen+4),
			asm.JGT.Reg(scratch, end, "tag2"),
			asm.JNE.Imm(vlanID, noVLAN, known),
		)
		ins = append(ins, load16(vlanID, 14)...)
		ins = append(ins, asm.And.Imm(vlanID, 0xfff), asm.LoadMem(etherType, start, 16, asm.Half).WithSymbol(known),
			asm.HostTo(asm.BE, etherType, asm.Half), asm.Add.Imm(start, 4))
		if i == 0 {
			ins = append(ins, asm.Ja.Label(next))
		}
	}
	return append(ins, asm.Mov.Reg(vlanID, vlanID).WithSymbol("tag2"))
}

// matchPorts compares the ports, which lie etherLen bytes behind start.
func matchPorts(list []Match, hit, miss string) asm.Instructions {
	source, destination := scratch, asm.R0
	ins := load16(source, etherLen)
	ins = append(ins, load16(destination, etherLen+2)...)
	ins = append(ins, asm.JEq.Imm(protocol, protoTCP, "tcp"), asm.JEq.Imm(protocol, protoUDP, "udp"), asm.Ja.Label(miss))
	for _, f := range []Field{TCP, UDP} {
		ins = append(ins, asm.Mov.Reg(protocol, protocol).WithSymbol(string(f)))
		for _, m := range list {
			if m.Field == f {
				ins = append(ins, asm.JEq.Imm(source, int32(m.Value), hit), asm.JEq.Imm(destination, int32(m.Value), hit))
			}
		}
		ins = append(ins, asm.Ja.Label(miss))
	}
	return ins
}
