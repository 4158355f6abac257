package metrics

import (
	"math"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/stream"
)

var (
	portInfo      = gauge("port_info", "1; the label says which device the port is.", "port", "device")
	portCapturing = gauge("port_capturing", "Whether frames are being let in.", "port")
	portReadable  = gauge("port_readable", "Whether the port's own counters could be read for this scrape; if not they are older.", "port")
	portSeconds   = counter("port_captured_seconds", "For how long frames have been let in.", "port")
	wireFrames    = counter("port_wire_frames", "Frames that reached the port: received + missed + bad.", "port")
	received      = counter("port_received_frames", "Frames that the port handed to the host.", "port")
	missed        = counter("port_missed_frames", "Frames that the port had no room for, by its register.", "port", "cause")
	bad           = counter("port_bad_frames", "Frames that were damaged, by register or cause.", "port", "cause")
	lost          = counter("port_lost_frames", "Undamaged frames that were not stored, those left out on request excepted.", "port")
	linkDowns     = counter("port_link_downs", "Times that the link was lost.", "port")

	clockInfo        = gauge("clock_info", "1; the labels say which frames get their stamp from the clock, and what that counts.", "port", "policy", "source")
	clockHertz       = gauge("clock_frequency_hertz", "Frequency of the clock's counter as measured last.", "port")
	clockResidual    = gauge("clock_residual_seconds", "Stamps minus CLOCK_REALTIME when they were compared last.", "port")
	clockWorst       = gauge("clock_worst_residual_seconds", "The largest such, steps left out.", "port")
	clockUncertainty = gauge("clock_uncertainty_seconds", "Of the residual.", "port")
	clockFits        = counter("clock_fits", "Times that the clock was compared with CLOCK_REALTIME.", "port")
	clockSteps       = counter("clock_steps", "Times that somebody set CLOCK_REALTIME.", "port")

	polled       = counter("queue_polled_frames", "Frames taken from the queue: stored + filtered + duplicates + refused.", "port", "queue")
	polledBytes  = counter("queue_polled_bytes", "Bytes of those, on the wire without CRC.", "port", "queue")
	stored       = counter("queue_stored_frames", "Frames stored in the stream.", "port", "queue")
	cut          = counter("queue_cut_frames", "Of those, not whole.", "port", "queue")
	filtered     = counter("queue_filtered_frames", "Frames left out by rules.", "port", "queue")
	duplicates   = counter("queue_duplicate_frames", "Frames left out as copies.", "port", "queue")
	refused      = counter("queue_refused_frames", "Frames that could not be stored, by cause.", "port", "queue", "cause")
	ruleFrames   = counter("queue_rule_frames", "Frames that a rule was the first to match; begins anew with other rules.", "port", "queue", "rule")
	ruleBytes    = counter("queue_rule_bytes", "Bytes of those, on the wire without CRC.", "port", "queue", "rule")
	streamBytes  = counter("queue_stream_bytes", "Bytes put into the stream, headers and padding included.", "port", "queue")
	segments     = counter("queue_segments", "Segments begun, each of which is a file.", "port", "queue")
	bufferSize   = gauge("queue_buffer_size_bytes", "Size of the stream's buffer.", "port", "queue")
	bufferFill   = gauge("queue_buffer_fill_bytes", "What the slowest lossless listener has still to give back.", "port", "queue")
	polls        = counter("queue_polls", "Polls of the queue.", "port", "queue")
	pollGaps     = counter("queue_poll_gaps", "Times between two polls, by length in seconds: below the label and not below half of it.", "port", "queue", "below")
	longestGap   = gauge("queue_longest_poll_gap_seconds", "Longest time between two polls.", "port", "queue")
	riskyGaps    = counter("queue_risky_poll_gaps", "Times that the queue was not polled for so long that it could have cost frames.", "port", "queue")
	sleeps       = counter("queue_sleeps", "Times that the poller slept until an interrupt.", "port", "queue")
	slept        = counter("queue_slept_seconds", "How long it slept.", "port", "queue")
	pollerCore   = gauge("queue_poller_core", "Core that the poller is pinned to, -1 for none.", "port", "queue")
	pollerFIFO   = gauge("queue_poller_fifo_priority", "SCHED_FIFO priority of the poller, 0 for the ordinary policy.", "port", "queue")
	fifoGivenUp  = gauge("queue_poller_fifo_given_up", "Whether it gave SCHED_FIFO up because nothing else of the program ran.", "port", "queue")
	leftNow      = counter("queue_left_listeners", "Listeners that were attached and are not any more.", "port", "queue")
	leftStored   = counter("queue_left_listener_stored_frames", "Frames stored while those were attached: read + overtaken + unread.", "port", "queue")
	leftRead     = counter("queue_left_listener_read_frames", "Frames that they read.", "port", "queue")
	leftOvertook = counter("queue_left_listener_overtaken_frames", "Frames that they were too slow for.", "port", "queue")
	leftUnread   = counter("queue_left_listener_unread_frames", "Frames that they left behind.", "port", "queue")

	listenerInfo   = gauge("listener_info", "1; the labels say who the listener is.", "port", "queue", "id", "listener", "pid", "uid", "policy")
	listenerStored = counter("listener_stored_frames", "Frames stored since the listener attached: read + overtaken + unread.", "port", "queue", "id", "listener")
	listenerRead   = counter("listener_read_frames", "Frames that it read.", "port", "queue", "id", "listener")
	listenerBytes  = counter("listener_read_bytes", "Bytes of the stream that it read.", "port", "queue", "id", "listener")
	overtaken      = counter("listener_overtaken_frames", "Frames that it was too slow for.", "port", "queue", "id", "listener")
	overtakenBytes = counter("listener_overtaken_bytes", "Bytes of the stream that it was too slow for.", "port", "queue", "id", "listener")
	unread         = gauge("listener_unread_frames", "Frames that it has still to read.", "port", "queue", "id", "listener")
	lagBytes       = gauge("listener_lag_bytes", "Bytes that it has not given back.", "port", "queue", "id", "listener")
	lagSeconds     = gauge("listener_lag_seconds", "Age of the oldest frame that it has not given back.", "port", "queue", "id", "listener")
)

// port is the port's side of the ledger, and its queues'.
func (s sample) port(e *capture.Engine) {
	l, err := e.Ledger()
	began, ended := e.Times()
	s.add(portCapturing, truth(!began.IsZero() && ended.IsZero()))
	s.add(portReadable, truth(err == nil))
	s.add(portSeconds, l.Duration.Seconds())
	s.add(wireFrames, float64(l.Account.Wire))
	s.add(received, float64(l.Account.Received))
	s.counts(missed, l.Account.Missed)
	s.counts(bad, l.Account.Bad)
	s.add(lost, float64(l.Lost()))
	s.add(linkDowns, float64(l.Account.LinkDowns))
	s.add(clockInfo, 1, l.Clock.Policy.String(), l.Clock.Source)
	s.add(clockHertz, l.Clock.Hertz)
	s.add(clockResidual, float64(l.Clock.Residual)/1e9)
	s.add(clockWorst, float64(l.Clock.Worst)/1e9)
	s.add(clockUncertainty, float64(l.Clock.Uncertainty)/1e9)
	s.add(clockFits, float64(l.Clock.Fits))
	s.add(clockSteps, float64(l.Clock.Steps))
	for i := range l.Queues {
		s.queueNumber(l.Queues[i].Queue).queue(&l.Queues[i], e.Stream(i))
	}
}

// queue is one queue's account, its stream and who listens.
func (s sample) queue(a *capture.QueueAccount, of *stream.Stream) {
	st := of.Stats()
	s.add(polled, float64(a.Polled))
	s.add(polledBytes, float64(a.Bytes))
	s.add(stored, float64(a.Stored))
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
	s.add(bufferSize, float64(of.Config().Size))
	s.add(bufferFill, float64(st.Fill))
	s.add(polls, float64(a.Polls))
	for _, g := range a.Gaps {
		s.add(pollGaps, float64(g.Count), strconv.FormatFloat(g.Below.Seconds(), 'g', -1, 64))
	}
	s.add(longestGap, a.LongestGap.Seconds())
	s.add(riskyGaps, float64(a.ExcessiveGaps))
	s.add(sleeps, float64(a.Sleeps))
	s.add(slept, a.Slept.Seconds())
	s.add(pollerCore, float64(a.Core))
	s.add(pollerFIFO, float64(a.FIFO))
	s.add(fifoGivenUp, truth(a.Demoted))

	gone := st.OlderDetached
	for _, l := range st.RecentDetached {
		gone.Stored += l.Stored
		gone.Read += l.Read
		gone.Overrun += l.Overrun
		gone.Unread += l.Unread
	}
	s.add(leftNow, float64(st.DetachedTotal))
	s.add(leftStored, float64(gone.Stored))
	s.add(leftRead, float64(gone.Read))
	s.add(leftOvertook, float64(gone.Overrun))
	s.add(leftUnread, float64(gone.Unread))
	for i := range st.Listeners {
		l := &st.Listeners[i]
		s.with(strconv.FormatUint(l.ID, 10), l.Name).listener(l)
	}
}

func (s sample) listener(l *stream.ListenerStats) {
	s.add(listenerInfo, 1, strconv.Itoa(l.PID), strconv.Itoa(l.UID), l.Policy.String())
	s.add(listenerStored, float64(l.Stored))
	s.add(listenerRead, float64(l.Read))
	s.add(listenerBytes, float64(l.ReadBytes))
	s.add(overtaken, float64(l.Overrun))
	s.add(overtakenBytes, float64(l.OverrunBytes))
	s.add(unread, float64(l.Unread))
	s.add(lagBytes, float64(l.LagBytes))
	s.add(lagSeconds, l.Lag.Seconds())
}

// distribution gives a histogram: counts[i] are those below bounds[i], seconds,
// and not below the one before; the last one has no bound.
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
