package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
)

// troubles counts what was done, by what it was.
type troubles map[string]int

func (t troubles) String() string {
	var words []string
	for _, what := range slices.Sorted(maps.Keys(t)) {
		words = append(words, fmt.Sprintf("%s %d", what, t[what]))
	}
	return strings.Join(words, ", ")
}

// trouble does one thing to somebody.
func (h *house) trouble() error {
	here := len(h.guests)
	if here == 0 || here < h.o.listeners*h.engine.Queues() && h.chance.IntN(3) == 0 {
		h.done["invited"]++
		args := guestOptions(h.chance)
		if h.chance.IntN(10) == 0 {
			args = append(args, "--garbage")
			h.done["garbage"]++
			err := h.invite(args...)
			if err == nil {
				h.guests[len(h.guests)-1].expected = "wrote garbage"
			}
			return err
		}
		return h.invite(args...)
	}
	g := h.guests[h.chance.IntN(here)]
	switch h.chance.IntN(9) {
	case 0:
		h.done["left"]++
		g.wake()
		g.leave()
	case 1:
		h.done["killed"]++
		g.kill()
	case 2:
		h.done["stopped"]++
		g.stop()
	case 3, 4:
		for _, g := range h.guests {
			if g.stopped && h.chance.IntN(2) == 0 {
				h.done["woken"]++
				g.wake()
			}
		}
	case 5:
		return h.changePolicy()
	case 6:
		return h.throwOut()
	case 7:
		return h.changeFilter()
	case 8:
		h.done["dropped in"]++
		q := h.chance.IntN(h.engine.Queues())
		o := stream.Options{Policy: stream.Policy(h.chance.IntN(2)), Start: stream.Start(h.chance.IntN(2)), Aligned: h.chance.IntN(4) == 0}
		path := ""
		if h.chance.IntN(2) == 0 {
			path = socket(h.dir, q)
		}
		h.dropIn(path, q, o, time.Duration(h.chance.IntN(200))*time.Millisecond)
	}
	return nil
}

// somebody is a guest as its stream knows it.
func (h *house) somebody() (queue int, s stream.ListenerStats, ok bool) {
	queue = h.chance.IntN(h.engine.Queues())
	all := slices.DeleteFunc(h.engine.Stream(queue).Stats().Listeners, func(s stream.ListenerStats) bool { return s.Name == "witness" })
	if len(all) == 0 {
		return queue, s, false
	}
	return queue, all[h.chance.IntN(len(all))], true
}

func (h *house) changePolicy() error {
	q, s, ok := h.somebody()
	if !ok {
		return nil
	}
	h.done["policies"]++
	policy, after := stream.Policy(h.chance.IntN(2)), time.Duration(0)
	if policy == stream.Lossless {
		after = time.Duration(100+h.chance.IntN(900)) * time.Millisecond
	}
	// It waits for the listener, which may be one that is stopped.
	h.threads.Go(func() {
		// Whoever has left meanwhile has no policy.
		if err := h.engine.Stream(q).SetPolicy(s.ID, policy, after); err != nil && h.attached(q, s.ID) {
			h.fail(fmt.Errorf("policy of %s: %w", s.Name, err))
		}
	})
	return nil
}

func (h *house) throwOut() error {
	q, s, ok := h.somebody()
	if !ok {
		return nil
	}
	h.done["thrown out"]++
	if err := h.engine.Stream(q).Detach(s.ID, "by the stress test"); err != nil && h.attached(q, s.ID) {
		return fmt.Errorf("detach %s: %w", s.Name, err)
	}
	return nil
}

func (h *house) attached(queue int, id uint64) bool {
	return slices.ContainsFunc(h.engine.Stream(queue).Stats().Listeners, func(s stream.ListenerStats) bool { return s.ID == id })
}

// ruleLists are what the filter changes between.
var ruleLists = []string{
	"all",
	"(udp) 96; all",
	"(tcp) drop; all",
	"(net 10.0.0.0/8) headers; drop",
	"(port 53) drop; (udp) all; 64",
}

func (h *house) changeFilter() error {
	h.done["filters"]++
	r, err := rules.Parse(ruleLists[h.chance.IntN(len(ruleLists))])
	if err != nil {
		return err
	}
	return h.engine.SetFilter(h.chance.IntN(h.engine.Queues()), r)
}
