//go:build !edge

package access

import (
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics returns the counters of proxies, forwards and DNS. Those of proxies are of all
// listeners together, since the start.
func (s *Services) Metrics() prometheus.Collector { return (*collector)(s) }

// collector reads the counters at scrape time.
type collector Services

var (
	descConnections = prometheus.NewDesc("wirespan_proxy_connections", "Connections of clients of proxies.", nil, nil)
	descAccepted    = prometheus.NewDesc("wirespan_proxy_accepted_total", "Connections that proxies have taken.", nil, nil)
	descRefused     = prometheus.NewDesc("wirespan_proxy_refused_total", "What proxies did not take, by reason.", []string{"reason"}, nil)
	descUDP         = prometheus.NewDesc("wirespan_proxy_udp_associations", "UDP associations of proxies.", nil, nil)
	descBytes       = prometheus.NewDesc("wirespan_proxy_bytes_total", "Bytes through proxies: up is from clients.", []string{"direction"}, nil)
	descDatagrams   = prometheus.NewDesc("wirespan_proxy_datagrams_dropped_total", "Datagrams that proxies dropped.", nil, nil)
	descForward     = prometheus.NewDesc("wirespan_forward_connections", "Connections and UDP associations of a forward.", []string{"forward"}, nil)
	descForwarded   = prometheus.NewDesc("wirespan_forward_accepted_total", "Connections and UDP associations that a forward has taken.", []string{"forward"}, nil)
	descNotForward  = prometheus.NewDesc("wirespan_forward_refused_total", "Connections and datagrams that a forward did not pass on, by reason.", []string{"forward", "reason"}, nil)
	descForwardData = prometheus.NewDesc("wirespan_forward_bytes_total", "Bytes through a forward: up is to its target.", []string{"forward", "direction"}, nil)
	descQueries     = prometheus.NewDesc("wirespan_dns_queries_total", "DNS queries, by what became of them.", []string{"result"}, nil)
)

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descConnections, descAccepted, descRefused, descUDP, descBytes, descDatagrams,
		descForward, descForwarded, descNotForward, descForwardData, descQueries,
	} {
		ch <- d
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := (*Services)(c)
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	counter := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	p := s.proxyStats()
	gauge(descConnections, p.Open)
	gauge(descUDP, p.Associations)
	counter(descAccepted, p.Accepted)
	counter(descRefused, p.Refused, "connections")
	counter(descRefused, p.AssociationsRefused, "associations")
	counter(descRefused, p.AuthFailures, "authentication")
	counter(descBytes, p.BytesUp, "up")
	counter(descBytes, p.BytesDown, "down")
	counter(descDatagrams, p.DatagramsDropped)
	for _, f := range s.forwards.Status() {
		gauge(descForward, int64(f.Connections), f.Name)
		counter(descForwarded, int64(f.Accepted), f.Name)
		counter(descNotForward, int64(f.Refused), f.Name, "limit")
		counter(descNotForward, int64(f.Denied), f.Name, "peer")
		counter(descNotForward, int64(f.Failed), f.Name, "target")
		counter(descForwardData, f.ToTarget, f.Name, "up")
		counter(descForwardData, f.FromTarget, f.Name, "down")
	}
	m, h := s.meshDNS.Stats(), s.hostDNS.Stats()
	counter(descQueries, int64(m.Queries+h.Queries-m.Forwarded-h.Forwarded), "answered")
	counter(descQueries, int64(m.Forwarded+h.Forwarded-m.Failed-h.Failed), "forwarded")
	counter(descQueries, int64(m.Failed+h.Failed), "failed")
	counter(descQueries, int64(m.Dropped+h.Dropped), "dropped")
}
