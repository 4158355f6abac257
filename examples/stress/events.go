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

// eventCounts counts events by kind.
type eventCounts map[string]int

func (t eventCounts) String() string {
	var words []string
	for _, kind := range slices.Sorted(maps.Keys(t)) {
		words = append(words, fmt.Sprintf("%s %d", kind, t[kind]))
	}
	return strings.Join(words, ", ")
}

// event makes a random event.
func (h *harness) event() error {
	running := len(h.processes)
	if running == 0 || running < h.o.listeners*h.engine.Queues() && h.chance.IntN(3) == 0 {
		h.counts["started"]++
		args := randomOptions(h.chance)
		if h.chance.IntN(10) == 0 {
			args = append(args, "--garbage")
			h.counts["garbage"]++
			err := h.startProcess(args...)
			if err == nil {
				h.processes[len(h.processes)-1].expected = "wrote garbage"
			}
			return err
		}
		return h.startProcess(args...)
	}
	g := h.processes[h.chance.IntN(running)]
	switch h.chance.IntN(9) {
	case 0:
		h.counts["closed"]++
		g.resume()
		g.detach()
	case 1:
		h.counts["killed"]++
		g.kill()
	case 2:
		h.counts["stopped"]++
		g.stop()
	case 3, 4:
		for _, g := range h.processes {
			if g.stopped && h.chance.IntN(2) == 0 {
				h.counts["resumed"]++
				g.resume()
			}
		}
	case 5:
		return h.changePolicy()
	case 6:
		return h.detach()
	case 7:
		return h.changeFilter()
	case 8:
		h.counts["threads"]++
		q := h.chance.IntN(h.engine.Queues())
		o := stream.Options{Policy: stream.Policy(h.chance.IntN(2)), Start: stream.Start(h.chance.IntN(2)), Aligned: h.chance.IntN(4) == 0}
		path := ""
		if h.chance.IntN(2) == 0 {
			path = socket(h.dir, q)
		}
		h.startThread(path, q, o, time.Duration(h.chance.IntN(200))*time.Millisecond)
	}
	return nil
}

// randomListener returns a random listener of a client.
func (h *harness) randomListener() (queue int, s stream.ListenerStats, ok bool) {
	queue = h.chance.IntN(h.engine.Queues())
	all := slices.DeleteFunc(h.engine.Stream(queue).Stats().Listeners, func(s stream.ListenerStats) bool { return s.Name == referenceName })
	if len(all) == 0 {
		return queue, s, false
	}
	return queue, all[h.chance.IntN(len(all))], true
}

func (h *harness) changePolicy() error {
	q, s, ok := h.randomListener()
	if !ok {
		return nil
	}
	h.counts["policy changes"]++
	policy, after := stream.Policy(h.chance.IntN(2)), time.Duration(0)
	if policy == stream.Lossless {
		after = time.Duration(100+h.chance.IntN(900)) * time.Millisecond
	}
	// SetPolicy waits for the listener, whose process can be stopped.
	h.threads.Go(func() {
		// It fails if the listener has detached, which is no error here.
		if err := h.engine.Stream(q).SetPolicy(s.ID, policy, after); err != nil && h.attached(q, s.ID) {
			h.fail(fmt.Errorf("set policy of %s: %w", s.Name, err))
		}
	})
	return nil
}

func (h *harness) detach() error {
	q, s, ok := h.randomListener()
	if !ok {
		return nil
	}
	h.counts["detached"]++
	if err := h.engine.Stream(q).Detach(s.ID, "by the stress test"); err != nil && h.attached(q, s.ID) {
		return fmt.Errorf("detach %s: %w", s.Name, err)
	}
	return nil
}

func (h *harness) attached(queue int, id uint64) bool {
	return slices.ContainsFunc(h.engine.Stream(queue).Stats().Listeners, func(s stream.ListenerStats) bool { return s.ID == id })
}

// ruleLists are the filters.
var ruleLists = []string{
	"all",
	"(udp) 96; all",
	"(tcp) drop; all",
	"(net 10.0.0.0/8) headers; drop",
	"(port 53) drop; (udp) all; 64",
}

func (h *harness) changeFilter() error {
	h.counts["filter changes"]++
	r, err := rules.Parse(ruleLists[h.chance.IntN(len(ruleLists))])
	if err != nil {
		return err
	}
	return h.engine.SetRules(h.chance.IntN(h.engine.Queues()), r)
}
