package bench

import (
	"math"
	"slices"
	"sort"
)

// Figure holds the values of one subject for one metric, and their reduction.
type Figure struct {
	Metric           Metric
	Subject          string
	Values           []float64 // in the order of repetitions
	Median, Min, Max float64
	Ratios           []float64 // to the base subject, one per repetition that has both values
	Ratio            *Estimate // nil for the base itself, without a pair, and if a value is zero
}

// Estimate is a ratio with a 95 % confidence interval. One sample gives no
// interval: Low is 0 and High is infinite.
type Estimate struct {
	Value, Low, High float64
	Samples          int
}

// Bounded reports whether there are enough samples for an interval.
func (e Estimate) Bounded() bool { return e.Samples > 1 }

// Improvement returns the estimate so that more than 1 is better: the reciprocal
// if lower values are better, else e itself. The argument is [Metric.Better].
func (e Estimate) Improvement(better int) Estimate {
	if better >= 0 {
		return e
	}
	low, high := 1/e.High, math.Inf(1) // 1/+Inf is 0
	if e.Low > 0 {
		high = 1 / e.Low
	}
	return Estimate{Value: 1 / e.Value, Low: low, High: high, Samples: e.Samples}
}

// Verdict returns 1 if the whole interval is an improvement, -1 if all of it is a
// loss, and else 0. The argument is [Metric.Better].
func (e Estimate) Verdict(better int) int {
	switch i := e.Improvement(better); {
	case better == 0:
		return 0
	case i.Low > 1:
		return 1
	case i.High < 1:
		return -1
	}
	return 0
}

// figures reduces the runs. The result is in display order of the metrics, then
// in the report's order of subjects. Ratios are taken within a repetition: from
// one repetition to the next a machine drifts by more than subjects differ.
func (r *Report) figures() []Figure {
	all, metrics := r.samples()
	var out []Figure
	for _, m := range metrics {
		base := all[cell{r.Base, m.ID}]
		for _, s := range r.Subjects {
			samples := all[cell{s.Name, m.ID}]
			if len(samples) == 0 {
				continue
			}
			f := figure(m, s.Name, samples)
			if s.Name != r.Base {
				f.Ratios, f.Ratio = ratios(samples, base)
			}
			out = append(out, f)
		}
	}
	return out
}

// cell identifies the values of one subject for one metric.
type cell struct{ subject, metric string }

// sample is a value and its repetition.
type sample struct {
	index int
	value float64
}

// samples returns all values, each cell in the order of repetitions, and the
// metrics that have values, in display order.
func (r *Report) samples() (map[cell][]sample, []Metric) {
	runs := slices.Clone(r.Runs)
	sort.SliceStable(runs, func(i, j int) bool { return runs[i].Index < runs[j].Index })
	all := map[cell][]sample{}
	seen := map[string]bool{}
	var ids []string
	for _, run := range runs {
		for id, v := range run.Values {
			all[cell{run.Subject, id}] = append(all[cell{run.Subject, id}], sample{run.Index, v})
			if !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return all, orderedMetrics(ids)
}

func figure(m Metric, subject string, samples []sample) Figure {
	f := Figure{Metric: m, Subject: subject, Min: math.Inf(1), Max: math.Inf(-1)}
	for _, s := range samples {
		f.Values = append(f.Values, s.value)
		f.Min = min(f.Min, s.value)
		f.Max = max(f.Max, s.value)
	}
	f.Median = median(f.Values)
	return f
}

// ratios pairs samples of the same repetition. If one value is zero, there are no
// ratios at all: leaving out only that pair would flatter the subject.
func ratios(samples, base []sample) ([]float64, *Estimate) {
	byIndex := make(map[int]float64, len(base))
	for _, b := range base {
		byIndex[b.index] = b.value
	}
	var out, logs []float64
	for _, s := range samples {
		b, ok := byIndex[s.index]
		if !ok {
			continue
		}
		if s.value <= 0 || b <= 0 {
			return nil, nil
		}
		out = append(out, s.value/b)
		logs = append(logs, math.Log(s.value/b))
	}
	return out, pairedEstimate(logs)
}

// median returns the middle value, or the mean of the middle two, or 0 if there
// are no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Clone(values)
	sort.Slice(s, func(i, j int) bool { return s[i] < s[j] })
	n := len(s)
	return s[(n-1)/2]/2 + s[n/2]/2
}

// pairedEstimate returns the geometric mean of paired ratios, given their
// logarithms, with Student's t interval. For three pairs the factor of t is 4.3,
// and less would claim too much: a bootstrap of three pairs covers at most 75 %.
func pairedEstimate(logs []float64) *Estimate {
	if len(logs) == 0 {
		return nil
	}
	mean, variance := moments(logs)
	n := float64(len(logs))
	return interval(mean, variance/n, len(logs)-1, len(logs))
}

// welchEstimate returns the ratio b/a of two independent sets of values, given
// their logarithms, with Welch's t interval.
func welchEstimate(a, b []float64) *Estimate {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	meanA, varA := moments(a)
	meanB, varB := moments(b)
	na, nb := float64(len(a)), float64(len(b))
	df := min(len(a), len(b)) - 1
	if square := varA/na + varB/nb; df > 0 && square > 0 {
		// The Welch-Satterthwaite degrees of freedom, at least the smaller set's.
		df = max(df, int(square*square/(varA*varA/na/na/(na-1)+varB*varB/nb/nb/(nb-1))))
	}
	return interval(meanB-meanA, varA/na+varB/nb, df, min(len(a), len(b)))
}

// interval returns exp(mean ± t·√square).
func interval(mean, square float64, df, samples int) *Estimate {
	e := &Estimate{Value: math.Exp(mean), High: math.Inf(1), Samples: samples}
	if df > 0 {
		width := studentT(df) * math.Sqrt(square)
		e.Low, e.High = math.Exp(mean-width), math.Exp(mean+width)
	}
	return e
}

// moments returns the mean and the sample variance. The variance of fewer than
// two values is 0.
func moments(v []float64) (mean, variance float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		variance += (x - mean) * (x - mean)
	}
	return mean, variance / max(1, float64(len(v)-1))
}

// studentT returns the 97.5 % quantile of Student's t distribution. Past 30
// degrees of freedom it returns that of 30, which is at most 4 % too wide.
func studentT(df int) float64 {
	quantiles := [...]float64{
		12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
		2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
		2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
	}
	return quantiles[min(df, len(quantiles))-1]
}
