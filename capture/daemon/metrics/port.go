package metrics

import (
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
)

var (
	portInfo      = gauge("port_info", "Always 1. The label device is the device of the port.", "port", "device")
	portCapturing = gauge("port_capturing", "1 while the port receives frames, else 0.", "port")
	portReadable  = gauge("port_readable", "1 if the counters of the port could be read for this scrape, 0 if they are those read last.", "port")
	portSeconds   = counter("port_captured_seconds", "Time for which the port has received frames.", "port")
	wireFrames    = counter("port_wire_frames", "Frames that reached the port: received + filtered + missed + bad; bad ones received on request count once.", "port")
	received      = counter("port_received_frames", "Frames that the port wrote to host memory.", "port")
	portFiltered  = counter("port_filtered_frames", "Frames that filters of the port dropped before host memory.", "port")
	missed        = counter("port_missed_frames", "Frames that the port dropped because it had no buffer for them, by register.", "port", "cause")
	lossCauses    = counter("port_loss_cause_frames", "Frames that the port dropped because it had no buffer for them, by what the poller did instead of taking them.", "port", "cause")
	bad           = counter("port_bad_frames", "Damaged frames that reached the port, by register or cause.", "port", "cause")
	lost          = counter("port_lost_frames", "Undamaged frames that reached the port and were not stored, filtered frames and duplicates excepted.", "port")
	split         = counter("port_split_super_frames", "Super-frames, segments of a flow under one header, that the port made frames of.", "port")
	linkDowns     = counter("port_link_downs", "Number of times that the port lost its link.", "port")

	deviceEvents = counter("port_device_events", "A counter of the device of the port, by its name in ethtool -S where that has it.", "port", "counter")

	clockInfo        = gauge("clock_info", "Always 1. The label policy says which frames are stamped by the clock, source which counter the clock reads.", "port", "policy", "source")
	clockHertz       = gauge("clock_frequency_hertz", "Frequency of the counter that the clock reads, as measured last.", "port")
	clockResidual    = gauge("clock_residual_seconds", "Stamp minus CLOCK_REALTIME at the last comparison of the two.", "port")
	clockWorst       = gauge("clock_worst_residual_seconds", "Largest difference between stamp and CLOCK_REALTIME since the start, steps of CLOCK_REALTIME excepted.", "port")
	clockUncertainty = gauge("clock_uncertainty_seconds", "Uncertainty of the last comparison of stamps and CLOCK_REALTIME.", "port")
	clockFits        = counter("clock_fits", "Number of comparisons of stamps and CLOCK_REALTIME.", "port")
	clockSteps       = counter("clock_steps", "Number of times that CLOCK_REALTIME was set.", "port")
	deviceStamps     = counter("device_stamps", "Number of PTP messages whose stamps were compared with those of the device's clock.", "port")
	deviceDifference = gauge("device_stamp_difference_seconds", "Stamps minus those of the device's clock since the start: the label value says mean, min or max.", "port", "value")
	deviceDoubt      = gauge("device_stamp_uncertainty_seconds", "Largest uncertainty of the stamps of the device's clock in CLOCK_REALTIME.", "port")

	polled        = counter("queue_polled_frames", "Frames polled from the queue: stored + filtered + duplicates + refused.", "port", "queue")
	polledBytes   = counter("queue_polled_bytes", "Bytes on the wire, without CRC, of the frames polled from the queue.", "port", "queue")
	stored        = counter("queue_stored_frames", "Frames stored in the stream of the queue.", "port", "queue")
	storedBytes   = counter("queue_stored_bytes", "Bytes of the frames stored in the stream of the queue, as stored: without what was cut, without headers.", "port", "queue")
	cut           = counter("queue_cut_frames", "Frames stored in the stream of the queue that were truncated to the snaplen.", "port", "queue")
	filtered      = counter("queue_filtered_frames", "Frames of the queue that rules dropped.", "port", "queue")
	duplicates    = counter("queue_duplicate_frames", "Frames of the queue that were dropped as duplicates.", "port", "queue")
	refused       = counter("queue_refused_frames", "Frames of the queue that could not be stored, by cause.", "port", "queue", "cause")
	ruleFrames    = counter("queue_rule_frames", "Frames of the queue whose first matching rule is this one. Restarts at 0 with new rules.", "port", "queue", "rule")
	ruleBytes     = counter("queue_rule_bytes", "Bytes on the wire, without CRC, of the frames whose first matching rule is this one. Restarts at 0 with new rules.", "port", "queue", "rule")
	streamBytes   = counter("queue_stream_bytes", "Bytes appended to the stream of the queue, headers and padding included.", "port", "queue")
	segments      = counter("queue_segments", "Segments begun in the stream of the queue. Each is a file.", "port", "queue")
	bufferSize    = gauge("queue_buffer_size_bytes", "Size of the stream buffer of the queue.", "port", "queue")
	bufferFill    = gauge("queue_buffer_fill_bytes", "Bytes in the stream buffer that the slowest lossless listener has not released.", "port", "queue")
	poolChunks    = gauge("queue_pool_chunks", "Chunks of the ring-buffer pool of the queue, whose frames are not copied. Absent without a pool.", "port", "queue")
	poolChunkSize = gauge("queue_pool_chunk_buffers", "Packet buffers of a chunk of the ring-buffer pool of the queue.", "port", "queue")
	poolDepth     = gauge("queue_pool_depth_seconds", "Time for which the ring-buffer pool of the queue takes the shortest frames at the line rate of the port, if listeners hold all of them.", "port", "queue")
	polls         = counter("queue_polls", "Polls of the queue.", "port", "queue")
	pollGaps      = counter("queue_poll_gaps", "Gaps between two polls of the queue that were shorter than the label below, in seconds, and not shorter than half of it.", "port", "queue", "below")
	uncertainty   = gauge("queue_stamp_uncertainty_seconds", "Longest time between a frame's arrival in host memory and its stamp that the poller cannot exclude.", "port", "queue")
	longestGap    = gauge("queue_longest_poll_gap_seconds", "Longest gap between two polls of the queue.", "port", "queue")
	excessiveGaps = counter("queue_excessive_poll_gaps", "Gaps between two polls of the queue that exceeded the NIC buffer at the rate of arrival, so that frames may have been lost.", "port", "queue")
	sleeps        = counter("queue_sleeps", "Number of times that the poller of the queue slept until an interrupt.", "port", "queue")
	slept         = counter("queue_slept_seconds", "Time that the poller of the queue slept until an interrupt.", "port", "queue")
	pollerCore    = gauge("queue_poller_core", "Core that the poller of the queue is pinned to, -1 if it is not pinned.", "port", "queue")
	pollerFIFO    = gauge("queue_poller_fifo_priority", "SCHED_FIFO priority of the poller of the queue, 0 for the ordinary policy.", "port", "queue")
	demoted       = gauge("queue_poller_demoted", "1 if the watchdog demoted the poller of the queue from SCHED_FIFO because no other thread of the program ran.", "port", "queue")

	detached        = counter("queue_detached_listeners", "Listeners detached from the queue.", "port", "queue")
	detachedStored  = counter("queue_detached_listener_stored_frames", "Frames stored while the listeners that are now detached from the queue were attached: read + overrun + skipped + unread.", "port", "queue")
	detachedRead    = counter("queue_detached_listener_read_frames", "Frames read by the listeners that are now detached from the queue.", "port", "queue")
	detachedOverrun = counter("queue_detached_listener_overrun_frames", "Frames missed by the listeners that are now detached from the queue because they were too slow.", "port", "queue")
	detachedUnread  = counter("queue_detached_listener_unread_frames", "Frames left unread by the listeners that are now detached from the queue.", "port", "queue")

	listenerInfo   = gauge("listener_info", "Always 1. The labels identify an attached listener.", "port", "queue", "id", "listener", "pid", "uid", "policy")
	listenerStored = counter("listener_stored_frames", "Frames stored since the listener attached: read + overrun + skipped + unread.", "port", "queue", "id", "listener")
	listenerRead   = counter("listener_read_frames", "Frames read by the listener.", "port", "queue", "id", "listener")
	listenerBytes  = counter("listener_read_bytes", "Bytes of the stream read by the listener.", "port", "queue", "id", "listener")
	overrun        = counter("listener_overrun_frames", "Frames missed by the listener because it was too slow.", "port", "queue", "id", "listener")
	overrunBytes   = counter("listener_overrun_bytes", "Bytes of the stream missed by the listener because it was too slow.", "port", "queue", "id", "listener")
	unread         = gauge("listener_unread_frames", "Frames that the listener has not read yet.", "port", "queue", "id", "listener")
	skipped        = counter("listener_skipped_frames", "Frames of other members of the listener's fan-out group.", "port", "queue", "id", "listener")
	lagBytes       = gauge("listener_lag_bytes", "Bytes of the stream that the listener has not released.", "port", "queue", "id", "listener")
	lagSeconds     = gauge("listener_lag_seconds", "Age of the oldest frame that the listener has not released.", "port", "queue", "id", "listener")

	detachedSkipped = counter("queue_detached_listener_skipped_frames", "Frames of other members of the fan-out groups of the listeners that are now detached from the queue.", "port", "queue")

	groupMembers       = gauge("group_members", "Members attached to the fan-out group.", "port", "queue", "group", "mode")
	groupAssigned      = counter("group_assigned_frames", "Frames assigned to members of the fan-out group: read + overrun + unread + in hand + redistributed.", "port", "queue", "group")
	groupUnmatched     = counter("group_unmatched_frames", "Frames that no member of the fan-out group wanted.", "port", "queue", "group")
	groupWithout       = counter("group_without_members_frames", "Frames stored while the fan-out group had no members.", "port", "queue", "group")
	groupRead          = counter("group_read_frames", "Frames read by the member of the fan-out group that each was assigned to.", "port", "queue", "group")
	groupOverrun       = counter("group_overrun_frames", "Frames missed by members of the fan-out group because these were too slow.", "port", "queue", "group")
	groupUnread        = gauge("group_unread_frames", "Frames that members of the fan-out group have not read yet, or that departed ones never read.", "port", "queue", "group")
	groupInHand        = counter("group_in_hand_frames", "Frames that a member of the fan-out group may have read when it died or was detached.", "port", "queue", "group")
	groupRedistributed = counter("group_redistributed_frames", "Frames of departed members of the fan-out group that other members were given.", "port", "queue", "group")
	groupHanded        = counter("group_handed_frames", "Redistributed frames that members of the fan-out group have read.", "port", "queue", "group")
	groupHandedLost    = gauge("group_handed_lost_frames", "Redistributed frames that no member of the fan-out group read.", "port", "queue", "group")

	memberAssigned = counter("member_assigned_frames", "Frames assigned to the member of the fan-out group since it joined.", "port", "queue", "group", "id", "member")
	memberRead     = counter("member_read_frames", "Frames assigned to the member of the fan-out group and read.", "port", "queue", "group", "id", "member")
	memberOverrun  = counter("member_overrun_frames", "Frames assigned to the member of the fan-out group and missed because it was too slow.", "port", "queue", "group", "id", "member")
	memberUnread   = gauge("member_unread_frames", "Frames assigned to the member of the fan-out group and not read yet.", "port", "queue", "group", "id", "member")
	memberHanded   = counter("member_handed_frames", "Frames of departed members of the fan-out group that this member has read.", "port", "queue", "group", "id", "member")
)

// port adds the counters of a port, its clock and its queues.
func (s sample) port(e *capture.Engine) {
	l, err := e.Ledger()
	began, ended := e.Times()
	s.add(portCapturing, truth(!began.IsZero() && ended.IsZero()))
	s.add(portReadable, truth(err == nil))
	s.add(portSeconds, l.Duration.Seconds())
	s.add(wireFrames, float64(l.Account.Wire))
	s.add(received, float64(l.Account.Received))
	s.add(portFiltered, float64(l.Account.Filtered))
	s.counts(missed, l.Account.Missed)
	for _, c := range l.LossCauses {
		s.add(lossCauses, float64(c.Frames), string(c.Cause))
	}
	s.counts(bad, append(slices.Clone(l.Account.Bad), l.Account.BadReceived...))
	s.add(lost, float64(l.Lost()))
	s.add(split, float64(l.Account.Split))
	s.add(linkDowns, float64(l.Account.LinkDowns))
	s.device(e)
	s.add(clockInfo, 1, l.Clock.Policy.String(), l.Clock.Source)
	s.add(clockHertz, l.Clock.Hertz)
	s.add(clockResidual, float64(l.Clock.Residual)/1e9)
	s.add(clockWorst, float64(l.Clock.Worst)/1e9)
	s.add(clockUncertainty, float64(l.Clock.Uncertainty)/1e9)
	s.add(clockFits, float64(l.Clock.Fits))
	s.add(clockSteps, float64(l.Clock.Steps))
	s.deviceClock(l.Clock.Device)
	for i := range l.Queues {
		s.queueNumber(l.Queues[i].Queue).queue(&l.Queues[i], e.Stream(i))
	}
}

// deviceClock adds the comparison with the device's clock, if it is used.
func (s sample) deviceClock(d *capture.DeviceComparison) {
	if d == nil {
		return
	}
	s.add(deviceStamps, float64(d.Messages))
	if d.Messages == 0 {
		return
	}
	s.add(deviceDifference, float64(d.Mean)/1e9, "mean")
	s.add(deviceDifference, float64(d.Least)/1e9, "min")
	s.add(deviceDifference, float64(d.Most)/1e9, "max")
	s.add(deviceDoubt, float64(d.Uncertainty)/1e9)
}

// device adds the counters of the port's device, if it has any.
func (s sample) device(e *capture.Engine) {
	counters, err := e.PortCounters()
	if err != nil {
		return // portReadable is 0, or the port has none
	}
	var all []capture.Count // drivers of the kernel may use a name twice
	for _, c := range counters {
		all = append(all, capture.Count{Cause: c.Name, Frames: c.Value})
	}
	s.counts(deviceEvents, all)
}

// queue adds the counters of a queue, its stream and its listeners.
func (s sample) queue(a *capture.QueueAccount, of *stream.Stream) {
	st := of.Stats()
	s.add(polled, float64(a.Polled))
	s.add(polledBytes, float64(a.Bytes))
	s.add(stored, float64(a.Stored))
	s.add(storedBytes, float64(a.StoredBytes))
	s.add(cut, float64(a.Cut))
	s.add(filtered, float64(a.Filtered))
	s.add(duplicates, float64(a.Duplicates))
	s.counts(refused, a.Refused)
	var frames, bytes []capture.Count
	for _, r := range a.Rules {
		frames = append(frames, capture.Count{Cause: r.Rule, Frames: r.Frames})
		bytes = append(bytes, capture.Count{Cause: r.Rule, Frames: r.Bytes})
	}
	s.counts(ruleFrames, frames)
	s.counts(ruleBytes, bytes)
	s.add(streamBytes, float64(a.StreamBytes))
	s.add(segments, float64(st.Segments))
	s.add(bufferSize, float64(of.BufferBytes()))
	s.add(bufferFill, float64(st.Fill))
	if a.Pool != nil {
		s.add(poolChunks, float64(a.Pool.Chunks))
		s.add(poolChunkSize, float64(a.Pool.ChunkSize))
		s.add(poolDepth, a.Pool.Depth.Seconds())
	}
	s.add(polls, float64(a.Polls))
	for _, g := range a.Gaps {
		s.add(pollGaps, float64(g.Count), strconv.FormatFloat(g.Below.Seconds(), 'g', -1, 64))
	}
	s.add(uncertainty, a.Uncertainty.Seconds())
	s.add(longestGap, a.LongestGap.Seconds())
	s.add(excessiveGaps, float64(a.ExcessiveGaps))
	s.add(sleeps, float64(a.Sleeps))
	s.add(slept, a.Slept.Seconds())
	s.add(pollerCore, float64(a.Core))
	s.add(pollerFIFO, float64(a.FIFO))
	s.add(demoted, truth(a.Demoted))

	gone := st.OlderDetached
	for _, l := range st.RecentDetached {
		gone.Stored += l.Stored
		gone.Read += l.Read
		gone.Overrun += l.Overrun
		gone.Skipped += l.Skipped
		gone.Unread += l.Unread
	}
	s.add(detached, float64(st.DetachedTotal))
	s.add(detachedStored, float64(gone.Stored))
	s.add(detachedRead, float64(gone.Read))
	s.add(detachedOverrun, float64(gone.Overrun))
	s.add(detachedSkipped, float64(gone.Skipped))
	s.add(detachedUnread, float64(gone.Unread))
	for i := range st.Listeners {
		l := &st.Listeners[i]
		s.with(strconv.FormatUint(l.ID, 10), l.Name).listener(l)
	}
	for i := range st.Groups {
		g := &st.Groups[i]
		number := strconv.Itoa(g.Group)
		s.with(number).group(g)
		for k := range g.Members {
			m := &g.Members[k]
			s.with(number, strconv.FormatUint(m.ID, 10), m.Name).member(m)
		}
	}
}

// group adds the counters of a fan-out group.
func (s sample) group(g *stream.GroupStats) {
	sum := g.Sum()
	s.add(groupMembers, float64(len(g.Members)), g.Mode)
	s.add(groupAssigned, float64(sum.Assigned))
	s.add(groupUnmatched, float64(g.Unmatched))
	s.add(groupWithout, float64(g.WithoutMembers))
	s.add(groupRead, float64(sum.Read))
	s.add(groupOverrun, float64(sum.Overrun))
	s.add(groupUnread, float64(sum.Unread))
	s.add(groupInHand, float64(sum.InHand))
	s.add(groupRedistributed, float64(sum.Redistributed))
	s.add(groupHanded, float64(sum.Handed))
	s.add(groupHandedLost, float64(g.HandedLost))
}

// member adds the counters of an attached member of a group.
func (s sample) member(m *stream.MemberStats) {
	s.add(memberAssigned, float64(m.Assigned))
	s.add(memberRead, float64(m.Read))
	s.add(memberOverrun, float64(m.Overrun))
	s.add(memberUnread, float64(m.Unread))
	s.add(memberHanded, float64(m.Handed))
}

// listener adds the counters of an attached listener.
func (s sample) listener(l *stream.ListenerStats) {
	s.add(listenerInfo, 1, strconv.Itoa(l.PID), strconv.Itoa(l.UID), l.Policy.String())
	s.add(listenerStored, float64(l.Stored))
	s.add(listenerRead, float64(l.Read))
	s.add(listenerBytes, float64(l.ReadBytes))
	s.add(overrun, float64(l.Overrun))
	s.add(overrunBytes, float64(l.OverrunBytes))
	s.add(skipped, float64(l.Skipped))
	s.add(unread, float64(l.Unread))
	s.add(lagBytes, float64(l.LagBytes))
	s.add(lagSeconds, l.Lag.Seconds())
}

// distribution adds a histogram: counts[i] values lie below bounds[i], in seconds,
// and not below bounds[i-1]. The last count has no bound.
func (s sample) distribution(f *family, bounds []float64, counts []uint64, sum float64, labels ...string) {
	buckets, n := map[float64]uint64{}, uint64(0)
	for i, c := range counts {
		n += c
		if i < len(bounds) && !math.IsInf(bounds[i], 1) {
			buckets[bounds[i]] = n
		}
	}
	s.out <- prometheus.MustNewConstHistogram(f.desc, n, sum, buckets, s.with(labels...).labels...)
}
