package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Limits on a report that is read.
const (
	maxReportSize = 16 << 20 // bytes
	maxSubjects   = 64
	maxRuns       = 100_000
	maxValues     = 1000 // per run
	maxMetricID   = 64   // bytes
	maxRepetition = 1_000_000
	smallestValue = 1e-12 // seconds: less than a clock tick
	largestValue  = 1e18
)

// Encode writes the report as indented JSON. It refuses values that are not
// finite; the error names the value.
func Encode(w io.Writer, r *Report) error {
	for _, run := range r.Runs {
		for id, v := range run.Values {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return fmt.Errorf("encoding report: %s of %s, repetition %d, is %v", id, run.Subject, run.Index, v)
			}
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding report: %w", err)
	}
	_, err = w.Write(append(data, '\n'))
	return err
}

// Decode reads what Encode wrote. Errors quote name, which is the file's. Unknown
// fields are ignored: a schema version may gain fields.
func Decode(in io.Reader, name string) (*Report, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxReportSize+1))
	if err != nil {
		return nil, fmt.Errorf("report %s: %w", name, err)
	}
	if len(data) > maxReportSize {
		return nil, fmt.Errorf("report %s: larger than %d MiB", name, maxReportSize>>20)
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("report %s: not a benchmark report in JSON: %w", name, err)
	}
	if head.Schema != Schema {
		return nil, fmt.Errorf("report %s: schema %.40q: this program reads %s", name, head.Schema, Schema)
	}
	r := new(Report)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("report %s: %w", name, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("report %s: %w", name, err)
	}
	return r, nil
}

// check verifies what the rest of the package relies on: limits, unique subjects
// and runs, and values within range.
func (r *Report) check() error {
	if len(r.Subjects) > maxSubjects {
		return fmt.Errorf("more than %d subjects", maxSubjects)
	}
	if len(r.Runs) > maxRuns {
		return fmt.Errorf("more than %d runs", maxRuns)
	}
	known := make(map[string]bool, len(r.Subjects))
	for _, s := range r.Subjects {
		if s.Name == "" {
			return errors.New("a subject without a name")
		}
		if known[s.Name] {
			return fmt.Errorf("duplicate subject %.60q", s.Name)
		}
		known[s.Name] = true
	}
	if r.Base != "" && !known[r.Base] {
		return fmt.Errorf("base %.60q is not among the subjects", r.Base)
	}
	type key struct {
		subject string
		index   int
	}
	made := make(map[key]bool, len(r.Runs))
	for _, run := range r.Runs {
		if !known[run.Subject] {
			return fmt.Errorf("a run of %.60q, which is not among the subjects", run.Subject)
		}
		k := key{run.Subject, run.Index}
		if made[k] {
			return fmt.Errorf("duplicate repetition %d of %.60q", run.Index, run.Subject)
		}
		made[k] = true
		if err := run.check(); err != nil {
			return fmt.Errorf("repetition %d of %.60q: %w", run.Index, run.Subject, err)
		}
	}
	return nil
}

func (run Run) check() error {
	if run.Index < 0 || run.Index > maxRepetition {
		return errors.New("index out of range")
	}
	if outOfRange(run.Busy) || outOfRange(run.Steal) {
		return errors.New("background load out of range")
	}
	if len(run.Values) > maxValues {
		return fmt.Errorf("more than %d values", maxValues)
	}
	for id, v := range run.Values {
		if id == "" || len(id) > maxMetricID {
			return fmt.Errorf("metric id %.80q: empty or longer than %d bytes", id, maxMetricID)
		}
		if outOfRange(v) {
			return fmt.Errorf("%s is %g: out of range", id, v)
		}
	}
	return nil
}

// outOfRange reports whether v is a value that no measurement gives, or one that
// would overflow later.
func outOfRange(v float64) bool {
	return v != 0 && !(v >= smallestValue && v <= largestValue)
}
