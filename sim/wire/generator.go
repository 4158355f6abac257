package wire

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

const (
	maxGenerated      = 15868     // bytes: the 82599's longest frame (15872) without its CRC
	maxGeneratedArena = 512 << 20 // bytes of the arena
	minSlots          = 256       // most frames of one Receive; 60-byte frames fit the L1 cache
	minMixed          = 4096      // the same with several sizes
	slotAlign         = 64        // frames are aligned to cache lines
)

// sizes are the lengths of generated frames.
type sizes struct {
	low, high int // bytes without CRC; equal for one size
	imix      bool
}

// imixRound is the simple IMIX: IP packets of 40, 576 and 1500 bytes, 7:4:1.
var imixRound = [12]int{60, 60, 60, 60, 60, 60, 60, 590, 590, 590, 590, 1514}

// Generator makes the frames of a gen wire. Equal options make equal frames: Append
// returns what frame n must be.
type Generator struct {
	*train
	count int64
	kind  frameKind
}

// NewGenerator makes a generator of a gen wire's options, all but backpressure and
// burst.
func NewGenerator(options []Option) (*Generator, error) {
	var (
		g         = &Generator{count: forever}
		size      = sizes{low: 60, high: 60}
		flows     = int64(1)
		seed      = uint64(1)
		r         = lineRate
		rateGiven Option
		err       error
	)
	for _, o := range options {
		switch o.Key {
		case "gen":
			if o.Value != "" {
				err = bad(o, "no value; size=, flows=, count= and others describe the frames")
			}
		case "size":
			size, err = parseSizes(o)
		case "flows":
			if flows, err = strconv.ParseInt(o.Value, 10, 64); err != nil || flows < 1 || flows > 1<<32 {
				err = bad(o, "a whole number from 1 to 4294967296")
			}
		case "count":
			g.count, err = parseCount(o)
		case "rate":
			rateGiven = o
			r, err = parseRate(o)
		case "proto":
			switch o.Value {
			case "udp", "tcp":
				g.kind.tcp = o.Value == "tcp"
			default:
				err = bad(o, "udp or tcp")
			}
		case "vlan":
			var id uint64
			if id, err = strconv.ParseUint(o.Value, 10, 16); err != nil || id < 1 || id > 4094 {
				err = bad(o, "a VLAN ID from 1 to 4094")
			}
			g.kind.vlan = uint16(id)
		case "seed":
			if seed, err = strconv.ParseUint(o.Value, 10, 64); err != nil {
				err = bad(o, "a whole number from 0")
			}
		default:
			err = unknown(o, genKeys)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := g.build(size, flows, seed); err != nil {
		return nil, err
	}
	if err := g.space(r, nil); err != nil {
		return nil, fmt.Errorf("wire option %s: %w", rateGiven, err)
	}
	return g, nil
}

func parseSizes(o Option) (sizes, error) {
	if o.Value == "imix" {
		return sizes{low: 60, high: 1514, imix: true}, nil
	}
	first, last, isRange := strings.Cut(o.Value, "-")
	if !isRange {
		last = first
	}
	low, err := strconv.Atoi(first)
	high, err2 := strconv.Atoi(last)
	if err != nil || err2 != nil || low < minFrame || high < low || high > maxGenerated {
		return sizes{}, bad(o, fmt.Sprintf("a size in bytes without CRC from %d to %d, a range such as 60-1514, or imix", minFrame, maxGenerated))
	}
	return sizes{low: low, high: high}, nil
}

// build makes a round: every flow equally often, sizes and payloads random from
// seed.
func (g *Generator) build(size sizes, flows int64, seed uint64) error {
	least := int64(minSlots)
	if size.imix || size.low != size.high {
		least = minMixed
	}
	mean := int64(size.low+size.high) / 2
	if size.imix {
		mean = (7*60 + 4*590 + 1514) / 12
	}
	n := (least + flows - 1) / flows * flows
	if need := n * (mean + slotAlign/2); flows > maxGeneratedArena/minFrame || need > maxGeneratedArena {
		return fmt.Errorf("wire option flows=%d: frames of %d bytes on average take too much memory: at most %d flows fit %d MiB",
			flows, mean, maxGeneratedArena/(mean+slotAlign/2), maxGeneratedArena>>20)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	slots := make([]slot, n)
	var used int64
	var mix []int
	for i := range slots {
		length := size.low
		switch {
		case size.imix:
			if len(mix) == 0 {
				mix = append(mix, imixRound[:]...)
				random.Shuffle(len(mix), func(a, b int) { mix[a], mix[b] = mix[b], mix[a] })
			}
			length, mix = mix[0], mix[1:]
		case size.low != size.high:
			length += random.IntN(size.high - size.low + 1)
		}
		slots[i] = slot{off: used, len: int32(length)}
		used += (int64(length) + slotAlign - 1) &^ (slotAlign - 1)
	}
	layout := g.kind.layout()
	m := &marks{layout: layout, sums: make([]uint32, n)}
	arena := make([]byte, used)
	for i := range slots {
		s := &slots[i]
		m.sums[i] = g.kind.build(arena[s.off:s.off+int64(s.len)], layout, uint32(int64(i)%flows), random)
	}
	g.train = &train{arena: arena, slots: slots, mark: m}
	return nil
}

// Count is the number of frames that the wire sends, math.MaxInt64 if unlimited.
func (g *Generator) Count() int64 { return g.count }

// Append appends frame seq, counted from 0, to b.
func (g *Generator) Append(b []byte, seq uint64) []byte {
	i := int(seq % uint64(len(g.slots)))
	s := &g.slots[i]
	start := len(b)
	b = append(b, g.arena[s.off:s.off+int64(s.len)]...)
	g.mark.write(b[start:], i, seq)
	return b
}
