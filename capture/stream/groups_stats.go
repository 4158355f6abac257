package stream

import (
	"fmt"

	"github.com/ixcap/ixcap/capture/fanout"
)

// MemberStats are the account of a member of a fan-out group, in frames:
//
//	Assigned = Read + Overrun + Unread + InHand + Redistributed
type MemberStats struct {
	Number uint8  `json:"member"`
	ID     uint64 `json:"id"`   // of the listener
	Name   string `json:"name"` // for the order of members
	Weight int    `json:"weight"`
	Filter string `json:"filter,omitempty"` // in mode filter

	Assigned      uint64 `json:"assigned"` // since it joined
	AssignedBytes uint64 `json:"assigned_bytes"`
	Read          uint64 `json:"read"`
	Overrun       uint64 `json:"overrun"` // overwritten before they were read
	Unread        uint64 `json:"unread"`  // not read yet; of a departed member: not read and not redistributed
	InHand        uint64 `json:"in_hand"` // it may have read them when it died or was detached
	Redistributed uint64 `json:"redistributed"`
	Handed        uint64 `json:"handed"` // read of what others left, which is in no other count
}

// add adds the frames and bytes of another member.
func (m *MemberStats) add(o *MemberStats) {
	m.Assigned += o.Assigned
	m.AssignedBytes += o.AssignedBytes
	m.Read += o.Read
	m.Overrun += o.Overrun
	m.Unread += o.Unread
	m.InHand += o.InHand
	m.Redistributed += o.Redistributed
	m.Handed += o.Handed
}

// Balanced returns nil if every frame that was assigned to the member is accounted for.
func (m *MemberStats) Balanced() error {
	if m.Assigned != m.Read+m.Overrun+m.Unread+m.InHand+m.Redistributed {
		return fmt.Errorf("member %s: %d frames assigned, but %d read + %d overrun + %d unread + %d in hand + %d redistributed",
			m.Name, m.Assigned, m.Read, m.Overrun, m.Unread, m.InHand, m.Redistributed)
	}
	return nil
}

// GroupStats are the account of a fan-out group, in frames. It is exact when the
// producer rests:
//
//	Stored = sum of Assigned of Members and DepartedSum + Unmatched + WithoutMembers
//	sum of Redistributed = sum of Handed + HandedLost + HandedUnread
type GroupStats struct {
	Group    int    `json:"group"` // the number that users give
	Slot     int    `json:"slot"`
	Mode     string `json:"mode"`
	Tunnels  string `json:"tunnels"`
	Departed string `json:"departed"` // what happens to the frames that a member leaves

	Threshold int `json:"threshold_percent,omitempty"` // of mode buddy: what a member may leave unread before others get frames

	Stored         uint64 `json:"stored"`          // in the stream, since it began
	WithoutMembers uint64 `json:"without_members"` // while the group had none
	Unmatched      uint64 `json:"unmatched"`       // that no member wanted
	HandedUnread   uint64 `json:"handed_unread"`   // redistributed and not read yet
	HandedLost     uint64 `json:"handed_lost"`     // redistributed and never read

	Members         []MemberStats `json:"members"`          // attached ones and those whose departure is not complete
	DepartedMembers uint64        `json:"departed_members"` // number of others
	DepartedSum     MemberStats   `json:"departed_sum"`     // their sums; nothing else is set
}

// Sum is the sum of the group's members, also of the departed ones.
func (g *GroupStats) Sum() MemberStats {
	all := g.DepartedSum
	for i := range g.Members {
		all.add(&g.Members[i])
	}
	return all
}

// Balanced returns nil if every frame of the stream is accounted for.
func (g *GroupStats) Balanced() error {
	all := g.Sum()
	all.Name = fmt.Sprintf("sum of group %d", g.Group)
	if g.Stored != all.Assigned+g.Unmatched+g.WithoutMembers {
		return fmt.Errorf("group %d: %d frames stored, but %d assigned + %d unmatched + %d without members",
			g.Group, g.Stored, all.Assigned, g.Unmatched, g.WithoutMembers)
	}
	if all.Redistributed != all.Handed+g.HandedUnread+g.HandedLost {
		return fmt.Errorf("group %d: %d frames redistributed, but %d read + %d unread + %d lost",
			g.Group, all.Redistributed, all.Handed, g.HandedUnread, g.HandedLost)
	}
	for i := range g.Members {
		if err := g.Members[i].Balanced(); err != nil {
			return err
		}
	}
	return all.Balanced()
}

// groupStats returns the accounts of the groups. frames is the number of frames
// published.
func (s *Stream) groupStats(frames uint64) (all []GroupStats) {
	q := &s.groups
	assigner := q.assigner.Load()
	if assigner == nil {
		return nil
	}
	s.resolve()
	for _, g := range q.slots {
		if g == nil {
			continue
		}
		st := GroupStats{
			Group: int(g.settings.Group), Slot: g.slot, Mode: g.settings.Mode.String(),
			Tunnels: g.settings.Tunnels.String(), Departed: g.settings.Departed.String(), Threshold: int(g.settings.Threshold),
			Stored: frames, WithoutMembers: frames - g.stored(frames), DepartedMembers: g.finished, DepartedSum: g.departed,
		}
		for _, m := range g.members {
			st.Members = append(st.Members, s.memberStats(m))
		}
		for _, d := range q.departures {
			if d.member.group == g {
				st.Members = append(st.Members, s.departureStats(d))
			}
		}
		unmatched, _ := assigner.Count(g.slot, 0)
		st.Unmatched = unmatched - g.base
		if left := g.redistributed - min(g.redistributed, st.handed()); q.handover != nil && q.handover.group == g {
			st.HandedUnread = left
		} else {
			st.HandedLost = left
		}
		all = append(all, st)
	}
	return all
}

func (g *GroupStats) handed() uint64 {
	all := g.Sum()
	return all.Handed
}

// assigned returns a member's account with what was assigned to it.
func (s *Stream) assigned(m *member) MemberStats {
	frames, bytes := s.groups.assigner.Load().Count(m.group.slot, m.number)
	st := MemberStats{
		Number: m.number, ID: m.att.id, Name: m.settings.Member, Weight: int(m.settings.Weight),
		Assigned: frames - m.frames, AssignedBytes: bytes - m.bytes,
	}
	if m.group.settings.Mode == fanout.Filter {
		st.Filter = m.settings.Filter.String()
	}
	return st
}

// memberStats returns the account of an attached member. Its page was read just before.
func (s *Stream) memberStats(m *member) MemberStats {
	st, a := s.assigned(m), &m.att.last
	st.Read, st.Handed = min(a.read, st.Assigned), a.handed
	st.Unread = st.Assigned - st.Read
	if a.overrun > 0 {
		unread := s.countOwn(m, a.position.seq, s.view.cursors.IndexHead.Load())
		// It never falls, though the producer goes on between two loads.
		m.overrun = max(m.overrun, st.Unread-min(st.Unread, unread))
		st.Overrun = min(m.overrun, st.Unread)
		st.Unread -= st.Overrun
	}
	return st
}

// departureStats returns the account of a member that has left and is not finished.
func (s *Stream) departureStats(d *departure) MemberStats {
	st := s.assigned(d.member)
	st.Handed, st.InHand = d.account.handed, d.inHand
	st.Read = min(d.read, st.Assigned)
	st.Unread = st.Assigned - st.Read
	st.InHand = min(st.InHand, st.Unread)
	st.Unread -= st.InHand
	return st
}
