package server

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
)

// metrics are the server's metrics. They have the names of Sidero's server, so that
// its dashboards work.
type metrics struct {
	registry *prometheus.Registry

	hellos       *prometheus.CounterVec
	gcRuns       prometheus.Counter
	gcClusters   prometheus.Counter
	gcAffiliates prometheus.Counter

	operations     *prometheus.CounterVec
	lastSize       *prometheus.GaugeVec
	lastClusters   *prometheus.GaugeVec
	lastAffiliates *prometheus.GaugeVec
	lastEndpoints  *prometheus.GaugeVec
	lastDuration   *prometheus.GaugeVec

	grpcStarted *prometheus.CounterVec
	grpcHandled *prometheus.CounterVec
	grpcSeconds *prometheus.HistogramVec

	mu       sync.Mutex
	versions map[string]struct{} // label values in use
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), versions: map[string]struct{}{}}
	const storage = "discovery_storage_"
	rpc := []string{"grpc_type", "grpc_service", "grpc_method"}

	m.hellos = m.counters("discovery_server_hello_requests_total", "Hello requests by client version.", "client_version")
	m.gcRuns = m.counter("discovery_state_gc_runs_total", "Runs of the expiry loop.")
	m.gcClusters = m.counter("discovery_state_gc_clusters_total", "Clusters removed because all their affiliates expired.")
	m.gcAffiliates = m.counter("discovery_state_gc_affiliates_total", "Affiliates that expired.")

	m.operations = m.counters(storage+"operations_total", "Snapshot loads and saves.", "operation", "status")
	m.lastSize = m.gauges(storage+"last_snapshot_size_bytes", "Size of the last snapshot.")
	m.lastClusters = m.gauges(storage+"last_operation_clusters", "Clusters in the last snapshot.")
	m.lastAffiliates = m.gauges(storage+"last_operation_affiliates", "Affiliates in the last snapshot.")
	m.lastEndpoints = m.gauges(storage+"last_operation_endpoints", "Endpoints in the last snapshot.")
	m.lastDuration = m.gauges(storage+"last_operation_duration_seconds", "Duration of the last load or save.")

	m.grpcStarted = m.counters("grpc_server_started_total", "RPCs started.", rpc...)
	m.grpcHandled = m.counters("grpc_server_handled_total", "RPCs completed.", append(rpc, "grpc_code")...)
	m.grpcSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "grpc_server_handling_seconds",
		Help:    "Time from start to completion of RPCs.",
		Buckets: []float64{0.01, 0.1, 0.25, 0.5, 1, 2.5},
	}, rpc)
	m.registry.MustRegister(m.grpcSeconds)
	return m
}

func (m *metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *metrics) gauges(name, help string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"operation"})
	m.registry.MustRegister(g)
	return g
}

// hello counts a Hello request. The version is whatever the client claims, so the
// number of labels is limited.
func (m *metrics) hello(version string) {
	v := versionLabel(version)
	m.mu.Lock()
	if _, ok := m.versions[v]; !ok && len(m.versions) >= maxVersionLabels {
		v = "other"
	} else {
		m.versions[v] = struct{}{}
	}
	m.mu.Unlock()
	m.hellos.WithLabelValues(v).Inc()
}

func (m *metrics) expired(clusters, affiliates int) {
	m.gcRuns.Inc()
	m.gcClusters.Add(float64(clusters))
	m.gcAffiliates.Add(float64(affiliates))
}

func (m *metrics) storage(operation string, ok bool) {
	result := "success"
	if !ok {
		result = "error"
	}
	m.operations.WithLabelValues(operation, result).Inc()
}

func (m *metrics) lastStorage(operation string, n counts, size int, took time.Duration) {
	m.lastSize.WithLabelValues(operation).Set(float64(size))
	m.lastClusters.WithLabelValues(operation).Set(float64(n.clusters))
	m.lastAffiliates.WithLabelValues(operation).Set(float64(n.affiliates))
	m.lastEndpoints.WithLabelValues(operation).Set(float64(n.endpoints))
	m.lastDuration.WithLabelValues(operation).Set(took.Seconds())
}

func (m *metrics) started(c *call) {
	service, method := splitMethod(c.method)
	m.grpcStarted.WithLabelValues(c.kind, service, method).Inc()
}

func (m *metrics) handled(c *call, code codes.Code, took time.Duration) {
	service, method := splitMethod(c.method)
	m.grpcHandled.WithLabelValues(c.kind, service, method, code.String()).Inc()
	m.grpcSeconds.WithLabelValues(c.kind, service, method).Observe(took.Seconds())
}

func splitMethod(full string) (service, method string) {
	service, method, _ = strings.Cut(strings.TrimPrefix(full, "/"), "/")
	return service, method
}

// versionLabel reduces vX.Y.Z to vX.Y, and vX.Y.Z-anything to vX.Y-pre. It returns
// "unknown" for anything else.
func versionLabel(version string) string {
	core, _, pre := strings.Cut(version, "-")
	parts := strings.Split(strings.TrimPrefix(core, "v"), ".")
	if !strings.HasPrefix(core, "v") || len(parts) != 3 {
		return "unknown"
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil {
			return "unknown"
		}
		parts[i] = strconv.FormatUint(n, 10)
	}
	label := "v" + parts[0] + "." + parts[1]
	if pre {
		label += "-pre"
	}
	return label
}

// stateCollector reads the gauges of a memory store when metrics are gathered.
type stateCollector struct{ memory *memory }

var (
	descClusters      = prometheus.NewDesc("discovery_state_clusters", "Clusters known.", nil, nil)
	descAffiliates    = prometheus.NewDesc("discovery_state_affiliates", "Affiliates known.", nil, nil)
	descEndpoints     = prometheus.NewDesc("discovery_state_endpoints", "Endpoints known.", nil, nil)
	descSubscriptions = prometheus.NewDesc("discovery_state_subscriptions", "Open watches.", nil, nil)
)

func (c stateCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c stateCollector) Collect(ch chan<- prometheus.Metric) {
	n := c.memory.counts()
	for _, g := range []struct {
		desc *prometheus.Desc
		n    int
	}{
		{descClusters, n.clusters},
		{descAffiliates, n.affiliates},
		{descEndpoints, n.endpoints},
		{descSubscriptions, n.watchers},
	} {
		ch <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(g.n))
	}
}
