package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/recorder"
	"github.com/ixcap/ixcap/capture/archive/retain"
)

// Port is one of the captures that a Collector reads.
type Port struct {
	Name   string
	Device string
	Engine *capture.Engine
	// Stored returns the counters of its storers (recorder.Recorder.Stats); nil:
	// nothing is stored.
	Stored func() []recorder.QueueStats
}

// Collector reads captures when it is scraped. Close its Server before the engines.
type Collector struct {
	ports    []Port
	retained func() retain.Stats
	unlogged func() uint64
}

var unlogged = counter("log_messages_dropped", "Log messages that were not written, because the log was not read or writing failed.")

// New returns a collector. retained returns the counters of retention
// (retain.Cleaner.Stats), unlogged the number of log messages dropped; each is nil where
// there are none.
func New(ports []Port, retained func() retain.Stats, unlogged func() uint64) *Collector {
	return &Collector{ports: ports, retained: retained, unlogged: unlogged}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range families {
		out <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	for i := range c.ports {
		p := &c.ports[i]
		s := sample{out: out, labels: []string{p.Name}}
		s.add(portInfo, 1, p.Device)
		s.port(p.Engine)
		if p.Stored != nil {
			for _, q := range p.Stored() {
				s.queueNumber(q.Queue).storer(&q.Store)
			}
		}
	}
	if c.retained != nil {
		st := c.retained()
		sample{out: out}.retention(&st)
	}
	if c.unlogged != nil {
		sample{out: out}.add(unlogged, float64(c.unlogged()))
	}
}

// family is one metric with all its label values.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// families are all families, for Describe.
var families []*family

const namespace = "ixcap_"

// counter declares a value that only grows. Its name gets the suffix _total.
func counter(name, help string, labels ...string) *family {
	return declare(name+"_total", help, prometheus.CounterValue, labels)
}

// gauge declares a value that goes up and down.
func gauge(name, help string, labels ...string) *family {
	return declare(name, help, prometheus.GaugeValue, labels)
}

// histogram declares a distribution.
func histogram(name, help string, labels ...string) *family {
	return declare(name, help, prometheus.UntypedValue, labels)
}

func declare(name, help string, kind prometheus.ValueType, labels []string) *family {
	f := &family{desc: prometheus.NewDesc(namespace+name, help, labels, nil), kind: kind}
	families = append(families, f)
	return f
}

// sample is where a scrape adds values with common labels.
type sample struct {
	out    chan<- prometheus.Metric
	labels []string
}

// with returns a sample with further labels.
func (s sample) with(labels ...string) sample {
	all := append([]string(nil), s.labels...)
	for _, l := range labels {
		all = append(all, strings.ToValidUTF8(l, "\uFFFD")) // other processes choose their names
	}
	return sample{s.out, all}
}

func (s sample) queueNumber(n int) sample { return s.with(strconv.Itoa(n)) }

// add adds the value of a family with the labels of s and further ones.
func (s sample) add(f *family, value float64, labels ...string) {
	s.out <- prometheus.MustNewConstMetric(f.desc, f.kind, value, s.with(labels...).labels...)
}

// counts adds counters by cause. Those with the same cause are added up.
func (s sample) counts(f *family, all []capture.Count) {
	sums, order := map[string]uint64{}, []string{}
	for _, c := range all {
		if _, twice := sums[c.Cause]; !twice {
			order = append(order, c.Cause)
		}
		sums[c.Cause] += c.Frames
	}
	for _, cause := range order {
		s.add(f, float64(sums[cause]), cause)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
