package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/filter"
)

// keepAll is the text of rules that keep every frame whole.
const keepAll = "all"

func (h *handler) status(*http.Request) (any, error) {
	e := h.engine
	l, err := e.Ledger()
	s := Status{Port: l.Port, PID: os.Getpid(), Rate: h.rates.now(), Lost: l.Lost(), Account: l.Account}
	s.Clock = clockOf(l.Clock)
	switch s.Since, s.Ended = e.Times(); {
	case s.Since.IsZero():
		s.State = Idle
	case s.Ended.IsZero():
		s.State = Running
	default:
		s.State = Ended
	}
	if err != nil {
		s.Error = err.Error()
	}
	for i, a := range l.Queues {
		s.Queues = append(s.Queues, queueOf(a, e, i))
	}
	return s, nil
}

// queueOf is a queue's account and what its stream is like now.
func queueOf(a capture.QueueAccount, e *capture.Engine, queue int) Queue {
	st := e.Stream(queue)
	now := st.Stats()
	q := Queue{
		Queue: a.Queue, Core: a.Core, FIFO: a.FIFO,
		Polled: a.Polled, Stored: a.Stored, Filtered: a.Filtered, Duplicates: a.Duplicates,
		BufferBytes: uint64(st.Config().Size), FillBytes: now.Fill,
		LongestGap: a.Longest, RiskyGaps: a.Risky,
		Left: now.Left, Filter: rulesText(e.Filter(queue)), Sockets: []Socket{}, Listeners: []Listener{},
	}
	for _, sh := range st.Shares() {
		q.Sockets = append(q.Sockets, Socket{Path: sh.Path(), Mode: fmt.Sprintf("%04o", sh.Mode())})
	}
	for _, l := range now.Listeners {
		q.Listeners = append(q.Listeners, listenerOf(queue, l))
	}
	for _, r := range a.Refused {
		q.Refused += r.Frames
	}
	return q
}

func (h *handler) listeners(*http.Request) (any, error) { return h.all(), nil }

// all are the listeners of all queues.
func (h *handler) all() Listeners {
	all := Listeners{Attached: []Listener{}, Gone: []Listener{}}
	for q := range h.engine.Queues() {
		s := h.engine.Stream(q).Stats()
		for _, l := range s.Listeners {
			all.Attached = append(all.Attached, listenerOf(q, l))
		}
		for _, l := range s.Departed {
			all.Gone = append(all.Gone, listenerOf(q, l))
		}
		all.Left += s.Left
	}
	return all
}

func (h *handler) listener(r *http.Request) (any, error) {
	return find(r.PathValue("listener"), h.all().Attached)
}

// changeable is the listener that a request names, if it may be changed.
func (h *handler) changeable(r *http.Request) (Listener, error) {
	l, err := find(r.PathValue("listener"), h.all().Attached)
	if err != nil || h.config.Fixed == nil {
		return l, err
	}
	if why := h.config.Fixed(l); why != "" {
		return l, refuse(http.StatusConflict, "listener %s (%s) must stay as it is: %s", l.Key(), l.Name, why)
	}
	return l, nil
}

func (h *handler) detach(r *http.Request) (any, error) {
	l, err := h.changeable(r)
	if err != nil {
		return nil, err
	}
	if err := h.engine.Stream(l.Queue).Detach(l.ID, "by "+asker(r.Context())); err != nil {
		return nil, refuse(http.StatusNotFound, "listener %s (%s): %w; it may have left just now", l.Key(), l.Name, err)
	}
	gone, err := h.again(l)
	if err != nil {
		return l, nil // so many have left since that it is not remembered
	}
	return gone, nil
}

// again is a listener as it is now, or as it was when it left.
func (h *handler) again(l Listener) (Listener, error) {
	all := h.all()
	for _, now := range append(all.Attached, all.Gone...) {
		if now.Queue == l.Queue && now.ID == l.ID {
			return now, nil
		}
	}
	return l, refuse(http.StatusNotFound, "listener %s (%s) has left", l.Key(), l.Name)
}

func (h *handler) setPolicy(r *http.Request) (any, error) {
	var want policyRequest
	if err := decode(r, &want, `{"policy":"lossy"}`); err != nil {
		return nil, err
	}
	p, after, err := ParsePolicy(want.Policy)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, err}
	}
	l, err := h.changeable(r)
	if err != nil {
		return nil, err
	}
	if err := h.engine.Stream(l.Queue).SetPolicy(l.ID, p, after); err != nil {
		return nil, refuse(http.StatusNotFound, "listener %s (%s): %w; it may have left just now", l.Key(), l.Name, err)
	}
	return h.again(l)
}

func (h *handler) filters(*http.Request) (any, error) { return h.filter() }

// filter is what each queue's rules are and have met.
func (h *handler) filter() (Filters, error) {
	f := Filters{Queues: []Filter{}}
	l, err := h.engine.Ledger()
	for i, a := range l.Queues {
		q := Filter{Queue: a.Queue, Rules: rulesText(h.engine.Filter(i)), Filtered: a.Filtered, Hits: []capture.RuleCount{}}
		f.Queues = append(f.Queues, q)
		f.Queues[i].Hits = append(f.Queues[i].Hits, a.Rules...)
	}
	return f, err
}

func (h *handler) setFilter(r *http.Request) (any, error) {
	queue := capture.AllQueues
	if text := r.URL.Query().Get("queue"); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || int(n) >= h.engine.Queues() {
			return nil, refuse(http.StatusBadRequest, "queue %q: the port has %d, numbered from 0", text, h.engine.Queues())
		}
		queue = int(n)
	}
	var want filterRequest
	if err := decode(r, &want, `{"rules":"(udp and port 53) all; 128"}`); err != nil {
		return nil, err
	}
	if want.Rules == nil {
		return nil, refuse(http.StatusBadRequest, `no rules: send them as {"rules":"..."}; empty ones keep every frame whole`)
	}
	rules, err := filter.Parse(*want.Rules)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, err}
	}
	if rules.String() == keepAll {
		rules = nil // the poller need not ask
	}
	if err := h.engine.SetFilter(queue, rules); err != nil {
		return nil, refusal{http.StatusConflict, err}
	}
	return h.filter()
}

func (h *handler) ledger(*http.Request) (any, error) {
	l, err := h.engine.Ledger()
	if err != nil {
		return nil, refuse(http.StatusServiceUnavailable, "%w", err)
	}
	var b bytes.Buffer
	if err := l.WriteJSON(&b); err != nil {
		return nil, err
	}
	return json.RawMessage(b.Bytes()), nil
}
