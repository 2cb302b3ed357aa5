package bench

import (
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// sampleReport returns a local report of five subjects and three repetitions.
// From one repetition to the next the machine drifts by a factor that all
// subjects share.
func sampleReport() *Report {
	start := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	r := &Report{
		Schema: Schema, Kind: KindLocal, Started: start, Finished: start.Add(7*time.Minute + 12*time.Second),
		Command: []string{"wirespan", "bench", "local", "--runs", "3"},
		Machine: Machine{
			CPUModel: "Example 9000", Cores: 2, Architecture: "amd64", Kernel: "6.18.0", GoVersion: "go1.26.8", Version: "v0.1.0",
			Offloads: map[string]bool{"tx-udp-segmentation": true, "rx-gro": false}, TCPCongestion: "bbr", Virtual: "QEMU Standard PC",
		},
		Options: Options{Runs: 3, Duration: 5 * time.Second, Streams: []int{1, 4}, Payloads: []int{64, 0}, UnderlayMTU: 1500, Congestion: "cubic"},
		Base:    "wireguard-go",
		Subjects: []Subject{
			{Name: "raw", TunnelMTU: 1500},
			{Name: "wireguard-go", Version: "v0.0.0-20260522210424", TunnelMTU: 1420},
			{Name: "wirespan-tun", Version: "v0.1.0", TunnelMTU: 1420},
			{Name: "wirespan-netstack", Version: "v0.1.0", Failed: "the client ended with exit code 2"},
			{Name: "kernel", Skipped: "this kernel has no wireguard module"},
		},
		Notes: []string{"paced 1 Gb/s sender on raw"},
	}
	speed := map[string]float64{"raw": 7, "wireguard-go": 1, "wirespan-tun": 1.4, "wirespan-netstack": 0.5}
	for i, drift := range []float64{1, 0.8, 1.1} {
		for j, name := range []string{"raw", "wireguard-go", "wirespan-tun", "wirespan-netstack"} {
			wobble := 1 + 0.1*math.Sin(float64(5*i+3*j))
			run := Run{Index: i, Subject: name, Started: start.Add(time.Duration(4*i+j) * 30 * time.Second), Busy: 0.02, Values: sampleValues(speed[name]*drift, wobble)}
			if name == "wirespan-netstack" && i == 2 {
				run.Error, run.Values = "the client ended with exit code 2", nil
			}
			r.Runs = append(r.Runs, run)
		}
	}
	r.Runs[5].Busy, r.Runs[5].Steal = 0.31, 0.045
	return r
}

func sampleValues(speed, wobble float64) map[string]float64 {
	return map[string]float64{
		"tcp.up.1": 2.4e9 * speed * wobble, "tcp.up.4": 2.2e9 * speed / wobble, "tcp.down.1": 2.3e9 * speed, "tcp.both.4": 2.6e9 * speed * wobble,
		"udp.max": 0.9e9 * speed * wobble, "udp.pps.64": 180e3 * speed, "udp.pps.mtu": 120e3 * speed * wobble,
		"rtt.idle.p50": 0.5e-3 / speed, "rtt.load.p99": 19e-3 / speed * wobble, "connect.handshake": 1.8e-3,
		"cpu.client.user": 1.2 / speed, "cpu.server.system": 1.5 / speed * wobble,
		"rss.client": 410e6 / speed, "mtu": 1420, "tcp.retransmits": math.Round(40 * (1.1 - wobble)),
	}
}

// golden compares got with testdata/NAME.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (rewrite it with -update):\n%s", file, got)
	}
}

func tableOf(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pageOf(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := WriteHTML(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
