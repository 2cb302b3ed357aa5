package bench

import "testing"

// standardMetrics lists the ids that the standard options give.
func standardMetrics() []string {
	ids := []string{"udp.pps.64", "udp.pps.512", "udp.pps.mtu"}
	for _, direction := range []string{"up", "down", "both"} {
		for _, n := range []string{"1", "4", "32"} {
			ids = append(ids, "tcp."+direction+"."+n)
		}
	}
	for _, m := range fixedMetrics {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestMetrics(t *testing.T) {
	seen := map[string]bool{}
	last := -1
	for _, m := range orderedMetrics(standardMetrics()) {
		if seen[m.ID] {
			t.Errorf("duplicate metric %s", m.ID)
		}
		seen[m.ID] = true
		if got, ok := MetricByID(m.ID); !ok || got != m {
			t.Errorf("MetricByID(%s) = %+v, %v", m.ID, got, ok)
		}
		rank := -1
		for i, g := range groupOrder {
			if g == m.Group {
				rank = i
			}
		}
		if rank < last {
			t.Errorf("%s of group %q is out of order", m.ID, m.Group)
		}
		last = rank
	}
	if len(seen) != 30 {
		t.Errorf("%d metrics", len(seen))
	}
}

func TestMetricByID(t *testing.T) {
	for id, want := range map[string]string{
		"tcp.up.1": "up, 1 stream", "tcp.both.16": "both ways, 16 streams", "udp.pps.1200": "1200 B payload", "udp.pps.mtu": "MTU-size payload",
		"crypto.seal.1420.one": "1420 B, one core", "crypto.open.64.all": "64 B, all cores", "mtu": "MTU",
		"tcp.up.0": "", "tcp.up.01": "", "tcp.up.+1": "", "tcp.up.": "", "tcp.up.mtu": "", "tcp.side.1": "", "crypto.seal.64": "", "crypto.xor.64.one": "",
		"": "", "nonsense": "",
	} {
		m, ok := MetricByID(id)
		if ok != (want != "") || ok && m.Title != want || !ok && m.Title != id || m.ID != id {
			t.Errorf("MetricByID(%q) = %+v, %v, want %q", id, m, ok, want)
		}
	}
}

func TestMetricOrder(t *testing.T) {
	want := []string{"tcp.up.1", "tcp.up.4", "tcp.up.32", "tcp.down.4", "tcp.both.1", "paced.goodput", "udp.max", "udp.pps.64", "udp.pps.512", "udp.pps.mtu", "rtt.idle.p50", "rtt.load.p50", "mtu", "crypto.seal.64.one", "crypto.seal.1420.one", "crypto.seal.64.all", "unknown"}
	in := append([]string(nil), want...)
	for i := range in { // in reverse order
		in[i] = want[len(want)-1-i]
	}
	for i, m := range orderedMetrics(in) {
		if m.ID != want[i] {
			t.Errorf("%d is %s, want %s", i, m.ID, want[i])
		}
	}
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		unit        string
		value       float64
		text, units string
	}{
		{unitBits, 2.434e9, "2.43", "Gb/s"},
		{unitBits, 512.3e6, "512", "Mb/s"},
		{unitBits, 900, "0.900", "kb/s"},
		{unitPackets, 180_400, "180", "kpps"},
		{unitPackets, 1.25e6, "1.25", "Mpps"},
		{unitBytes, 1420, "1420", "B"},
		{unitBytes, 65520, "65520", "B"},
		{unitBytes, 42e6, "42.0", "MB"},
		{unitBytes, 1.2e9, "1.20", "GB"},
		{unitSeconds, 0.00004, "40.0", "µs"},
		{unitSeconds, 0.0084, "8.40", "ms"},
		{unitSeconds, 5, "5.00", "s"},
		{unitCost, 2, "2.00", "s/GB"},
		{unitCost, 0.0123, "0.0123", "s/GB"},
		{unitCount, 12, "12", ""},
		{unitCount, 12345678, "12345678", ""},
		{unitCount, 0.5, "0.500", ""},
		{unitRate, 1.77e9, "1.77", "GB/s"},
		{unitBits, 0, "0", "kb/s"},
		{unitBits, 1e18, "1000000000", "Gb/s"},
		{unitSeconds, 1e-12, "0.000001", "µs"},
	} {
		s := chooseScale(Metric{Unit: c.unit}, c.value)
		if got := s.format(c.value); got != c.text || s.unit != c.units {
			t.Errorf("%v %s is shown as %s %s, want %s %s", c.value, c.unit, got, s.unit, c.text, c.units)
		}
	}
	for v, want := range map[float64]string{1.4: "1.40×", 0.066: "0.0660×", 12.71: "12.7×", 1e6: ">999×", 1e-9: "<0.001×", 999: "999×"} {
		if got := ratio(v); got != want {
			t.Errorf("ratio %v is shown as %s, want %s", v, got, want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, end := range []float64{1e-9, 0.13, 0.99, 1, 1.2, 4.2, 9.99, 10, 1230, 7.7e17} {
		got := ticks(end)
		if len(got) < 3 || len(got) > 6 || got[0] != 0 || got[len(got)-1] > end*1.001 {
			t.Errorf("ticks(%v) = %v", end, got)
		}
	}
}
