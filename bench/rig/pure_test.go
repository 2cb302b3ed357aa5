package rig

import (
	"encoding/hex"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/bench"
	"github.com/wirespan/wirespan/mesh"
)

func TestParseUsage(t *testing.T) {
	const stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 1234 56 9 9 20 0 8 0 5 6 7"
	u, err := parseUsage(stat, "Name:\ta\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n")
	want := usage{user: 12340 * time.Millisecond, system: 560 * time.Millisecond, peak: 2 << 20}
	if err != nil || u != want {
		t.Errorf("parseUsage = %+v, %v, want %+v", u, err, want)
	}
	for _, bad := range []struct{ stat, status string }{
		{"", ""},
		{"7 (a) S 1", ""},
		{strings.Replace(stat, "1234", "x", 1), ""},
		{strings.Replace(stat, " 56 ", " -1 ", 1), ""},
		{stat, "VmHWM: many kB"},
	} {
		if _, err := parseUsage(bad.stat, bad.status); err == nil {
			t.Errorf("%q and %q were accepted", bad.stat, bad.status)
		}
	}
	self, err := usageOf([]int{os.Getpid()})
	if err != nil || self.peak == 0 {
		t.Errorf("usage of this process: %+v, %v", self, err)
	}
	if _, err := usageOf([]int{1 << 30}); err == nil {
		t.Error("a process that does not exist has usage")
	}
}

func TestMetrics(t *testing.T) {
	o := DefaultOptions()
	ids := allIDs(&o)
	for _, id := range ids {
		if _, ok := bench.MetricByID(id); !ok {
			t.Errorf("metric %s is unknown to the report", id)
		}
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != len(allIDs(&o)) {
		t.Errorf("%d of %d metrics are duplicates", len(allIDs(&o))-n, len(allIDs(&o)))
	}
	// All ids are known and none is a duplicate, so equal numbers mean equal sets.
	const known = 30
	if len(ids) != known {
		t.Errorf("%d metrics are measured; package bench has %d: see its TestMetrics", len(ids), known)
	}
}

func TestMeasures(t *testing.T) {
	names := func(list []measure) (out []string) {
		for _, m := range list {
			out = append(out, m.ids()[0])
		}
		return out
	}
	o := DefaultOptions()
	o.Streams, o.Payloads = []int{2, 8}, []int{0}
	for _, tt := range []struct {
		metrics []string
		udp     bool
		want    []string
	}{
		{[]string{"rtt"}, true, []string{"connect.handshake", "rtt.idle.p50", "rtt.load.p50"}},
		{[]string{"cpu"}, true, []string{"connect.handshake", "tcp.up.2"}},
		{[]string{"tcp.down", "udp"}, false, []string{"connect.handshake", "tcp.down.2", "tcp.down.8"}},
		{[]string{"udp"}, true, []string{"connect.handshake", "udp.max", "udp.pps.mtu"}},
		{[]string{"mtu"}, true, []string{"connect.handshake"}},
	} {
		o.Metrics = tt.metrics
		if got := names(measures(&o, tt.udp)); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("metrics %v: %v, want %v", tt.metrics, got, tt.want)
		}
	}
}

// TestStandardTime: the standard matrix takes less than ten minutes.
func TestStandardTime(t *testing.T) {
	o := DefaultOptions()
	run := setupTime + quietTime
	for _, m := range measures(&o, true) {
		run += m.estimate(o.Duration)
	}
	if all := time.Duration(5*o.Runs) * run; all > 10*time.Minute {
		t.Errorf("5 subjects take about %s", all)
	}
}

func TestQuantile(t *testing.T) {
	ten := make([]time.Duration, 10)
	for i := range ten {
		ten[i] = time.Duration(i + 1)
	}
	for _, tt := range []struct {
		of   []time.Duration
		q    float64
		want time.Duration
	}{{ten, 0.5, 5}, {ten, 0.99, 10}, {ten, 0.1, 1}, {ten, 0, 1}, {ten, 1, 10}, {ten[:1], 0.999, 1}} {
		if got := quantile(tt.of, tt.q); got != tt.want {
			t.Errorf("quantile %g of %d = %d, want %d", tt.q, len(tt.of), got, tt.want)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*bench.Options)
		want   string
	}{
		{"standard", func(*bench.Options) {}, ""},
		{"runs", func(o *bench.Options) { o.Runs = 0 }, "runs: 0"},
		{"duration", func(o *bench.Options) { o.Duration = time.Hour }, "duration: 1h"},
		{"MTU", func(o *bench.Options) { o.MTU = 100 }, "MTU: 100"},
		{"underlay", func(o *bench.Options) { o.UnderlayMTU = 65536 }, "underlay MTU: 65536"},
		{"RTT", func(o *bench.Options) { o.RTT = -1 }, "RTT: -1ns"},
		{"loss", func(o *bench.Options) { o.Loss = 2 }, "loss: 2"},
		{"cores", func(o *bench.Options) { o.GOMAXPROCS = -1 }, "GOMAXPROCS: -1"},
		{"congestion", func(o *bench.Options) { o.Congestion = "a b" }, "congestion control"},
		{"long name", func(o *bench.Options) { o.Congestion = "abcdefghijklmnop" }, "congestion control"},
		{"streams", func(o *bench.Options) { o.Streams = []int{1, 1000} }, "streams: 1000"},
		{"payload", func(o *bench.Options) { o.Payloads = []int{8} }, "payload: 8"},
		{"empty", func(o *bench.Options) { o.Streams = nil }, "at least one"},
		{"metric", func(o *bench.Options) { o.Metrics = []string{"tcp", "speed"} }, `metric "speed"`},
		{"no stream of it", func(o *bench.Options) { o.Metrics = []string{"tcp.up.2"} }, `metric "tcp.up.2"`},
	} {
		o := DefaultOptions()
		tt.change(&o)
		err := checkOptions(&o)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

func TestCollector(t *testing.T) {
	r := &bench.Report{Subjects: []bench.Subject{{Name: "x"}, {Name: "y"}}}
	c := &collector{report: r}
	for _, e := range []event{
		{Values: map[string]float64{"mtu": 1}}, // before any run
		{Subjects: []bench.Subject{{Name: "y", TunnelMTU: 1420}}},
		{Started: &bench.Run{Subject: "y", Busy: 0.5}},
		{Values: map[string]float64{"mtu": 1420}},
		{Values: map[string]float64{"udp.max": 3}},
		{Ended: &runEnd{Steal: 0.1}},
		{Started: &bench.Run{Index: 1, Subject: "y"}},
		{Values: map[string]float64{"mtu": 1280}},
	} {
		c.take(e)
	}
	c.finish("interrupted")
	c.finish("nothing runs")
	want := []bench.Run{
		{Subject: "y", Busy: 0.5, Steal: 0.1, Values: map[string]float64{"mtu": 1420, "udp.max": 3}},
		{Index: 1, Subject: "y", Values: map[string]float64{"mtu": 1280}, Error: "interrupted"},
	}
	if !reflect.DeepEqual(r.Runs, want) {
		t.Errorf("runs %+v, want %+v", r.Runs, want)
	}
	if r.Subjects[0].TunnelMTU != 0 || r.Subjects[1].TunnelMTU != 1420 || len(r.Subjects) != 2 {
		t.Errorf("subjects %+v", r.Subjects)
	}
	if err := failures(r); err != nil {
		t.Errorf("failures: %v", err)
	}
	r.Subjects[1].Failed = "it broke"
	if err := failures(r); err == nil || err.Error() != "y: it broke" {
		t.Errorf("failures: %v", err)
	}
}

func TestClock(t *testing.T) {
	start := time.Unix(0, 0)
	c := clock{started: start, total: 100 * time.Second}
	if got := c.left(start.Add(time.Second)); got != 100*time.Second {
		t.Errorf("at the beginning %s are left", got)
	}
	c.done = 50 * time.Second
	if got := c.left(start.Add(100 * time.Second)); got != 100*time.Second {
		t.Errorf("half way, at half the speed, %s are left", got)
	}
	c.done = 200 * time.Second
	if got := c.left(start.Add(time.Second)); got != 0 {
		t.Errorf("past the end %s are left", got)
	}
}

func testTunnel() tunnel {
	key := mesh.NewPrivateKey([mesh.KeySize]byte{1})
	return tunnel{
		Key: key.RevealBase64(), PeerKey: key.Public(), Port: 51820, Peer: netip.MustParseAddrPort("10.99.0.2:51820"),
		Address: endA.tunnel, PeerAddress: endB.tunnel, MTU: 1420, Interface: "bench-a",
	}
}

func TestTunnelRequest(t *testing.T) {
	tun := testTunnel()
	got, err := tun.request()
	if err != nil {
		t.Fatal(err)
	}
	want := "private_key=0000000000000000000000000000000000000000000000000000000000000040\nlisten_port=51820\n" +
		"public_key=" + hex.EncodeToString(tun.PeerKey[:]) + "\nallowed_ip=10.7.0.2/32\nendpoint=10.99.0.2:51820\n"
	if got != want {
		t.Errorf("request %q, want %q", got, want)
	}
	tun.Key = "secret"
	if _, err := tun.request(); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a bad key gives %v", err)
	}
}

// TestKernelAttributes compares with the encoding by linux/wireguard.h on a
// little-endian machine, derived by hand.
func TestKernelAttributes(t *testing.T) {
	tun := testTunnel()
	attrs, err := tun.kernelAttributes()
	if err != nil {
		t.Fatal(err)
	}
	peer := hex.EncodeToString(tun.PeerKey[:])
	want := []string{
		"0c000200" + hex.EncodeToString([]byte("bench-a\x00")),
		"24000300" + "0000000000000000000000000000000000000000000000000000000000000040",
		"06000600" + "6cca" + "0000",
		"60000880" + "5c000080" + // peers, the first
			"24000100" + peer +
			"14000400" + "0200" + "ca6c" + "0a630002" + "0000000000000000" +
			"20000980" + "1c000080" + "06000100" + "0200" + "0000" + "08000200" + "0a070002" + "05000300" + "20" + "000000",
	}
	for i, a := range attrs {
		if got := hex.EncodeToString(a.Serialize()); got != want[i] {
			t.Errorf("attribute %d:\n got %s\nwant %s", i, got, want[i])
		}
	}
}
