package rig

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/wirespan/wirespan/bench"
)

// TestPacedAgreesWithIperf3 paces the rig and iperf3 to 1 Gb/s over the same veth
// pair, in turn. The medians agree within 10 %.
func TestPacedAgreesWithIperf3(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("iperf3"); err != nil {
		t.Fatal("iperf3 is not installed: apt-get install iperf3")
	}
	r := &round{engine: &engine{cfg: Config{Options: DefaultOptions(), Self: self(t)}, emit: func(event) {}}, subject: &subject{name: subjectRaw}, entry: &bench.Subject{}}
	defer func() { r.close() }()
	if err := r.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	resp, err := r.b.call(request{Serve: &r.b.opened.Address})
	if err != nil {
		t.Fatal(err)
	}
	window := 500 * time.Millisecond
	ask := measureRequest{
		Measure: measure{Kind: kindPaced}, Server: resp.Served, Congestion: "cubic", Timing: timing{window, r.a.opened.MTU},
	}
	server := inside(t, r.b.cmd.Process.Pid, "iperf3", "-s", "-B", endB.underlay.String())
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	var ours, theirs []float64
	for range 5 {
		resp, err := r.a.call(request{Measure: &ask})
		if err != nil {
			t.Fatal(err)
		}
		ours = append(ours, resp.Outcome.Values[kindPaced])
		theirs = append(theirs, iperf3(t, r.a.cmd.Process.Pid))
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	a, b := ours[len(ours)/2], theirs[len(theirs)/2]
	t.Logf("ours %.3g %v, iperf3 %.3g %v bit/s", a, ours, b, theirs)
	if a/b < 0.9 || a/b > 1.1 {
		t.Errorf("ours is %.3f of iperf3's", a/b)
	}
}

// iperf3 runs it once in the namespace of a process, and returns the goodput.
func iperf3(t *testing.T, pid int) float64 {
	t.Helper()
	var report struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
		Error string `json:"error"`
	}
	for range 100 {
		cmd := inside(t, pid, "iperf3", "-c", endB.underlay.String(), "-C", "cubic", "-b", fmt.Sprint(int64(pacedRate)), "-n", "60M", "-J")
		out, err := cmd.Output()
		if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
			t.Fatalf("iperf3: %v, %v: %s", err, jsonErr, out)
		}
		if err == nil {
			return report.End.Received.Rate
		}
		report.Error = "" // the server is not up yet, or still busy
	}
	t.Fatal("iperf3's server does not answer")
	return 0
}

// inside returns a command in the network namespace of a process.
func inside(t *testing.T, pid int, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", pid), "--", name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}
