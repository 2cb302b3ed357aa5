package bench

import (
	"sort"
	"strconv"
	"strings"
)

// Base units of values.
const (
	unitBits    = "bit/s"
	unitPackets = "packet/s"
	unitBytes   = "B"
	unitRate    = "B/s"
	unitSeconds = "s"
	unitCost    = "s/GB" // CPU seconds per 10⁹ bytes carried
	unitCount   = "count"
)

// Groups of metrics, in display order.
const (
	groupTCP     = "TCP goodput"
	groupUDP     = "UDP"
	groupPPS     = "Packet rate"
	groupLatency = "Latency"
	groupConnect = "Connecting"
	groupCPU     = "CPU cost"
	groupMemory  = "Memory"
	groupLink    = "Link"
	groupSeal    = "AEAD seal"
	groupOpen    = "AEAD open"
	groupOther   = "Other"
)

var groupOrder = []string{
	groupTCP, groupUDP, groupPPS, groupLatency, groupConnect, groupCPU, groupMemory, groupLink, groupSeal, groupOpen, groupOther,
}

// Metric describes the values of one id.
type Metric struct {
	ID     string
	Title  string
	Unit   string // a base unit, such as bit/s
	Better int    // 1: higher is better; -1: lower is better; 0: neither
	Group  string // the heading it is shown under
}

// fixedMetrics are the metrics whose id has no parameter, in display order.
var fixedMetrics = []Metric{
	{"paced.goodput", "up, 1 stream paced to 1 Gb/s", unitBits, 0, groupTCP},
	{"udp.max", "highest rate with loss under 0.5 %", unitBits, 1, groupUDP},
	{"rtt.idle.p50", "idle, p50", unitSeconds, -1, groupLatency},
	{"rtt.idle.p99", "idle, p99", unitSeconds, -1, groupLatency},
	{"rtt.idle.p999", "idle, p99.9", unitSeconds, -1, groupLatency},
	{"rtt.load.p50", "under load, p50", unitSeconds, -1, groupLatency},
	{"rtt.load.p99", "under load, p99", unitSeconds, -1, groupLatency},
	{"rtt.load.p999", "under load, p99.9", unitSeconds, -1, groupLatency},
	{"connect.handshake", "first handshake", unitSeconds, -1, groupConnect},
	{"connect.tcp", "TCP connect", unitSeconds, -1, groupConnect},
	{"cpu.client.user", "sender, user", unitCost, -1, groupCPU},
	{"cpu.client.system", "sender, system", unitCost, -1, groupCPU},
	{"cpu.server.user", "receiver, user", unitCost, -1, groupCPU},
	{"cpu.server.system", "receiver, system", unitCost, -1, groupCPU},
	{"rss.client", "sender, peak resident", unitBytes, -1, groupMemory},
	{"rss.server", "receiver, peak resident", unitBytes, -1, groupMemory},
	{"tcp.retransmits", "TCP retransmits", unitCount, -1, groupLink},
	{"mtu", "MTU", unitBytes, 0, groupLink},
}

// MetricByID returns the metric with an id. If the id has no known form, ok is
// false, and the metric has the id as its title, no direction and no scale.
func MetricByID(id string) (m Metric, ok bool) {
	for _, m := range fixedMetrics {
		if m.ID == id {
			return m, true
		}
	}
	part := strings.Split(id, ".")
	if len(part) == 3 && number(part[2]) > 0 {
		n := part[2]
		switch part[0] + "." + part[1] {
		case "tcp.up":
			return Metric{id, "up, " + streams(n), unitBits, 1, groupTCP}, true
		case "tcp.down":
			return Metric{id, "down, " + streams(n), unitBits, 1, groupTCP}, true
		case "tcp.both":
			return Metric{id, "both ways, " + streams(n), unitBits, 1, groupTCP}, true
		case "udp.pps":
			return Metric{id, n + " B payload", unitPackets, 1, groupPPS}, true
		}
	}
	if id == "udp.pps.mtu" {
		return Metric{id, "MTU-size payload", unitPackets, 1, groupPPS}, true
	}
	if m, ok := cryptoMetric(id, part); ok {
		return m, true
	}
	return Metric{ID: id, Title: id, Unit: unitCount, Group: groupOther}, false
}

// cryptoMetric returns the metric of an id crypto.{seal,open}.SIZE.{one,all}.
func cryptoMetric(id string, part []string) (Metric, bool) {
	if len(part) != 4 || part[0] != "crypto" || number(part[2]) == 0 {
		return Metric{}, false
	}
	group := map[string]string{"seal": groupSeal, "open": groupOpen}[part[1]]
	cores := map[string]string{"one": "one core", "all": "all cores"}[part[3]]
	if group == "" || cores == "" {
		return Metric{}, false
	}
	return Metric{id, part[2] + " B, " + cores, unitRate, 1, group}, true
}

func streams(n string) string {
	if n == "1" {
		return "1 stream"
	}
	return n + " streams"
}

// number returns the positive integer that s spells without sign or leading
// zeros, or 0 if it spells none.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || strconv.Itoa(n) != s {
		return 0
	}
	return n
}

// orderedMetrics returns the metrics of ids in display order.
func orderedMetrics(ids []string) []Metric {
	metrics := make([]Metric, len(ids))
	rank := make(map[string][3]int, len(ids))
	for i, id := range ids {
		metrics[i], _ = MetricByID(id)
		rank[id] = metricRank(metrics[i])
	}
	sort.SliceStable(metrics, func(i, j int) bool {
		a, b := rank[metrics[i].ID], rank[metrics[j].ID]
		for k := range a {
			if a[k] != b[k] {
				return a[k] < b[k]
			}
		}
		return metrics[i].ID < metrics[j].ID
	})
	return metrics
}

// metricRank returns the sort key of a metric: its group, then its place in
// fixedMetrics or its kind, then its parameter.
func metricRank(m Metric) [3]int {
	var rank [3]int
	for i, g := range groupOrder {
		if g == m.Group {
			rank[0] = i
		}
	}
	for i, f := range fixedMetrics {
		if f.ID == m.ID {
			rank[1] = i + 3 // after up, down and both
		}
	}
	for _, part := range strings.Split(m.ID, ".") {
		switch part {
		case "down", "all":
			rank[1]++
		case "both":
			rank[1] += 2
		case "mtu":
			rank[2] = 1 << 30 // after every payload size
		}
		if n := number(part); n > 0 {
			rank[2] = n
		}
	}
	return rank
}
