package control

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/daemon/settings"
)

func (p *controlled) status(*http.Request) (any, error) {
	e := p.engine
	l, err := e.Ledger()
	s := Status{Name: p.Name, Port: l.Port, PID: os.Getpid(), Clock: l.Clock, Rate: p.rates.now(), Lost: l.Lost(), Account: l.Account, LossCauses: l.LossCauses}
	switch s.Since, s.Ended = e.Times(); {
	case s.Since.IsZero():
		s.State = Idle
		if p.Awaited != nil {
			s.Arrived, s.Awaited = p.Awaited()
		}
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
	s.Filters = p.filterRules(l)
	s.VFs, s.Mirrors = p.functions()
	if p.Retained != nil {
		s.Retention = retentionOf(p.Retained())
	}
	return s, nil
}

// queueOf is a queue's account and the state of its stream.
func queueOf(a capture.QueueAccount, e *capture.Engine, queue int) Queue {
	st := e.Stream(queue)
	now := st.Stats()
	q := Queue{
		Queue: a.Queue, Core: a.Core, FIFO: a.FIFO,
		Polled: a.Polled, Stored: a.Stored, Filtered: a.Filtered, Duplicates: a.Duplicates,
		Pool: a.Pool, BufferBytes: uint64(st.BufferBytes()), FillBytes: now.Fill,
		LongestGap: a.LongestGap, ExcessiveGaps: a.ExcessiveGaps,
		DetachedTotal: now.DetachedTotal, Rules: settings.RulesText(e.Rules(queue)), Sockets: []Socket{}, Listeners: []Listener{},
	}
	for _, s := range st.Servers() {
		q.Sockets = append(q.Sockets, Socket{Path: s.Path(), Mode: fmt.Sprintf("%04o", s.Mode())})
	}
	for _, l := range now.Listeners {
		q.Listeners = append(q.Listeners, listenerOf(queue, l))
	}
	for _, r := range a.Refused {
		q.Refused += r.Frames
	}
	return q
}

func (p *controlled) listListeners(*http.Request) (any, error) { return p.listeners(), nil }

// listeners are the listeners of all queues.
func (p *controlled) listeners() Listeners {
	all := Listeners{Attached: []Listener{}, Detached: []Listener{}, Groups: []Group{}}
	for q := range p.engine.Queues() {
		s := p.engine.Stream(q).Stats()
		for _, l := range s.Listeners {
			all.Attached = append(all.Attached, listenerOf(q, l))
		}
		for _, l := range s.RecentDetached {
			all.Detached = append(all.Detached, listenerOf(q, l))
		}
		for _, g := range s.Groups {
			all.Groups = append(all.Groups, Group{q, g})
		}
		all.DetachedTotal += s.DetachedTotal
	}
	return all
}

func (p *controlled) listener(r *http.Request) (any, error) {
	return find(r.PathValue("listener"), p.listeners().Attached)
}

// changeable returns the listener that a request names, if it may be changed.
func (p *controlled) changeable(r *http.Request) (Listener, error) {
	l, err := find(r.PathValue("listener"), p.listeners().Attached)
	if err != nil || p.config.Fixed == nil {
		return l, err
	}
	if why := p.config.Fixed(l); why != "" {
		return l, refuse(http.StatusConflict, "listener %s (%s) must stay as it is: %s", l.Key(), l.Name, why)
	}
	return l, nil
}

func (p *controlled) detach(r *http.Request) (any, error) {
	l, err := p.changeable(r)
	if err != nil {
		return nil, err
	}
	if err := p.engine.Stream(l.Queue).Detach(l.ID, "by "+client(r.Context())); err != nil {
		return nil, refuse(http.StatusNotFound, "listener %s (%s): %w; it may have detached in the meantime", l.Key(), l.Name, err)
	}
	detached, err := p.current(l)
	if err != nil {
		return l, nil // the stream remembers only the last detached
	}
	return detached, nil
}

// current returns a listener's counters now, or as it was detached.
func (p *controlled) current(l Listener) (Listener, error) {
	all := p.listeners()
	for _, now := range append(all.Attached, all.Detached...) {
		if now.Queue == l.Queue && now.ID == l.ID {
			return now, nil
		}
	}
	return l, refuse(http.StatusNotFound, "listener %s (%s) is detached", l.Key(), l.Name)
}

func (p *controlled) setPolicy(r *http.Request) (any, error) {
	var want policyRequest
	if err := decode(r, &want, `{"policy":"lossy"}`); err != nil {
		return nil, err
	}
	policy, after, err := ParsePolicy(want.Policy)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, err}
	}
	l, err := p.changeable(r)
	if err != nil {
		return nil, err
	}
	if err := p.engine.Stream(l.Queue).SetPolicy(l.ID, policy, after); err != nil {
		return nil, refuse(http.StatusNotFound, "listener %s (%s): %w; it may have detached in the meantime", l.Key(), l.Name, err)
	}
	return p.current(l)
}

func (p *controlled) getRules(*http.Request) (any, error) { return p.queueRules() }

// queueRules are the rules of each queue with their counters.
func (p *controlled) queueRules() (Rules, error) {
	f := Rules{Queues: []QueueRules{}}
	l, err := p.engine.Ledger()
	for i, a := range l.Queues {
		q := QueueRules{Queue: a.Queue, Rules: settings.RulesText(p.engine.Rules(i)), Filtered: a.Filtered, Hits: []capture.RuleCount{}}
		q.Hits = append(q.Hits, a.Rules...)
		f.Queues = append(f.Queues, q)
	}
	return f, err
}

func (p *controlled) setRules(r *http.Request) (any, error) {
	queue := capture.AllQueues
	if query := r.URL.Query(); query.Has("queue") {
		text := query.Get("queue")
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || int(n) >= p.engine.Queues() {
			return nil, refuse(http.StatusBadRequest, "queue %q: the port has %d, numbered from 0", text, p.engine.Queues())
		}
		queue = int(n)
	}
	var want rulesRequest
	if err := decode(r, &want, `{"rules":"(udp and port 53) all; 128"}`); err != nil {
		return nil, err
	}
	if want.Rules == nil {
		return nil, refuse(http.StatusBadRequest, `no rules: send them as {"rules":"..."}; "none" keeps every frame whole`)
	}
	parsed, err := settings.ParseRules(*want.Rules)
	if err != nil {
		return nil, refusal{http.StatusBadRequest, err}
	}
	set := p.engine.SetRules
	if p.Filtering != nil {
		set = p.Filtering.SetRules
	}
	if err := set(queue, parsed); err != nil {
		return nil, refusal{http.StatusConflict, err}
	}
	return p.queueRules()
}

func (p *controlled) ledger(*http.Request) (any, error) {
	l, err := p.engine.Ledger()
	if err != nil {
		return nil, refuse(http.StatusServiceUnavailable, "%w", err)
	}
	var b bytes.Buffer
	if err := l.WriteJSON(&b); err != nil {
		return nil, err
	}
	return json.RawMessage(b.Bytes()), nil
}

func (p *controlled) counters(*http.Request) (any, error) {
	all, err := p.engine.PortCounters()
	if err != nil {
		return nil, refuse(http.StatusConflict, "%w", err)
	}
	return Counters{Name: p.Name, Port: p.name().Device, At: time.Now(), Counters: all}, nil
}
