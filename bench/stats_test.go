package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

func close(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 2}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{1, 9, 3, 5}, 4},
	} {
		if got := median(c.in); got != c.want {
			t.Errorf("Median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
	in := []float64{3, 1, 2}
	median(in)
	if in[0] != 3 {
		t.Error("median sorted its argument")
	}
}

// Three ratios as far apart as those once measured must give a wide interval. One
// pair gives none.
func TestIntervalWidth(t *testing.T) {
	ln := func(v ...float64) []float64 { return logs(v) }
	e := pairedEstimate(ln(1.2, 1.5, 1.9))
	if !close(e.Value, math.Cbrt(1.2*1.5*1.9)) {
		t.Errorf("value %v is not the geometric mean", e.Value)
	}
	if e.Low > 1 || e.High < 2.5 || e.Verdict(1) != 0 {
		t.Errorf("1.2, 1.5 and 1.9 give [%v, %v]: too narrow", e.Low, e.High)
	}
	if e := pairedEstimate(ln(1.2)); e.Bounded() || e.Verdict(1) != 0 {
		t.Errorf("one pair gives %+v", e)
	}
	two := pairedEstimate(ln(1.4, 1.5))
	if five := pairedEstimate(ln(1.4, 1.5, 1.4, 1.5, 1.45)); five.High/five.Low >= two.High/two.Low {
		t.Error("more pairs give no narrower interval")
	}
	if pairedEstimate(nil) != nil || welchEstimate(nil, ln(1)) != nil {
		t.Error("an estimate of nothing")
	}
}

// Over many draws from known distributions 95 % of the intervals contain the true
// ratio. The seed is fixed.
func TestIntervalCovers(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const draws = 4000
	draw := func(n int, mean, sd float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = mean + sd*rng.NormFloat64()
		}
		return out
	}
	for _, c := range []struct {
		name      string
		low, high float64 // bounds of the share of intervals that contain it
		one       func() *Estimate
	}{
		{"3 pairs", 0.935, 0.965, func() *Estimate { return pairedEstimate(draw(3, math.Log(1.4), 0.2)) }},
		{"5 pairs", 0.935, 0.965, func() *Estimate { return pairedEstimate(draw(5, math.Log(1.4), 0.1)) }},
		{"40 pairs", 0.935, 0.97, func() *Estimate { return pairedEstimate(draw(40, math.Log(1.4), 0.1)) }},
		{"3 and 5, unequal spread", 0.93, 0.985, func() *Estimate { return welchEstimate(draw(3, 1, 0.2), draw(5, 1+math.Log(1.4), 0.05)) }},
		{"4 and 4", 0.93, 0.985, func() *Estimate { return welchEstimate(draw(4, 1, 0.1), draw(4, 1+math.Log(1.4), 0.1)) }},
	} {
		hit := 0
		for range draws {
			if e := c.one(); e.Low <= 1.4 && 1.4 <= e.High {
				hit++
			}
		}
		if got := float64(hit) / draws; got < c.low || got > c.high {
			t.Errorf("%s: %.3f of the intervals contain the true ratio, want %.3f to %.3f", c.name, got, c.low, c.high)
		}
	}
}

func TestDifferenceIsSymmetric(t *testing.T) {
	a, b := logs([]float64{2, 2.4, 1.9}), logs([]float64{3, 3.3, 2.7, 4})
	ab, ba := welchEstimate(a, b), welchEstimate(b, a)
	if !close(ab.Value, 1/ba.Value) || !close(ab.Low, 1/ba.High) || !close(ab.High, 1/ba.Low) {
		t.Errorf("%+v and %+v are not reciprocal", ab, ba)
	}
	if e := welchEstimate(a[:1], b); e.Bounded() {
		t.Errorf("one run against four gives an interval: %+v", e)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		better    int
		want      int
	}{
		{1.1, 1.5, 1, 1}, {1.1, 1.5, -1, -1}, {1.1, 1.5, 0, 0}, {0.5, 0.9, 1, -1}, {0.5, 0.9, -1, 1}, {0.9, 1.1, 1, 0}, {0.9, 1.1, -1, 0},
	} {
		e := Estimate{Value: math.Sqrt(c.low * c.high), Low: c.low, High: c.high, Samples: 3}
		if got := e.Verdict(c.better); got != c.want {
			t.Errorf("[%v, %v] with better %d: %d, want %d", c.low, c.high, c.better, got, c.want)
		}
	}
	none := Estimate{Value: 2, High: math.Inf(1), Samples: 1}.Improvement(-1)
	if none.Value != 0.5 || none.Low != 0 || !math.IsInf(none.High, 1) {
		t.Errorf("reciprocal without an interval: %+v", none)
	}
}

// pairs returns a report with the values of each subject; NaN is a run that is
// absent.
func pairs(values map[string][]float64, id string) *Report {
	r := &Report{Schema: Schema, Kind: KindLocal, Base: "base"}
	for _, name := range []string{"base", "x"} {
		r.Subjects = append(r.Subjects, Subject{Name: name})
		for i, v := range values[name] {
			if !math.IsNaN(v) {
				r.Runs = append(r.Runs, Run{Index: i, Subject: name, Values: map[string]float64{id: v}})
			}
		}
	}
	return r
}

func TestPairing(t *testing.T) {
	none := math.NaN()
	for _, c := range []struct {
		name    string
		base, x []float64
		want    []float64 // ratios; nil: no estimate
	}{
		{"drift cancels", []float64{1, 4, 2}, []float64{1.5, 6, 3}, []float64{1.5, 1.5, 1.5}},
		{"a run is missing", []float64{1, none, 2}, []float64{2, 2, 2}, []float64{2, 1}},
		{"none in common", []float64{1, none}, []float64{none, 2}, nil},
		{"a zero", []float64{1, 2}, []float64{0, 2}, nil},
		{"no base", nil, []float64{1, 2}, nil},
	} {
		var got []float64
		for _, f := range pairs(map[string][]float64{"base": c.base, "x": c.x}, "tcp.up.1").figures() {
			if f.Subject == "base" && f.Ratio != nil {
				t.Errorf("%s: the base has a ratio to itself", c.name)
			}
			if f.Subject == "x" {
				got = f.Ratios
				if (f.Ratio == nil) != (c.want == nil) {
					t.Errorf("%s: ratio %v", c.name, f.Ratio)
				}
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: ratios %v, want %v", c.name, got, c.want)
			continue
		}
		for i := range got {
			if !close(got[i], c.want[i]) {
				t.Errorf("%s: ratios %v, want %v", c.name, got, c.want)
			}
		}
	}
}

// The order of the runs in the report does not matter.
func TestFiguresIgnoreOrder(t *testing.T) {
	r := sampleReport()
	want := tableOf(t, r)
	rand.New(rand.NewPCG(3, 4)).Shuffle(len(r.Runs), func(i, j int) {
		if r.Runs[i].Error == "" && r.Runs[j].Error == "" {
			r.Runs[i], r.Runs[j] = r.Runs[j], r.Runs[i]
		}
	})
	if got := tableOf(t, r); got != want {
		t.Errorf("shuffled runs give another table:\n%s", got)
	}
}
