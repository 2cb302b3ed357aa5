package bench

import (
	"math"
	"strconv"
	"strings"
)

// displayScale converts values of a metric for display.
type displayScale struct {
	factor float64 // multiplies a value in base units
	unit   string  // of the product
}

// chooseScale returns the scale at which a value of size largest reads well.
func chooseScale(m Metric, largest float64) displayScale {
	switch m.Unit {
	case unitBits:
		return decimal(largest, "kb/s", "Mb/s", "Gb/s")
	case unitPackets:
		return decimal(largest, "kpps", "Mpps", "Gpps")
	case unitRate:
		return decimal(largest, "kB/s", "MB/s", "GB/s")
	case unitBytes:
		if largest < 1e5 { // such as an MTU
			return displayScale{1, "B"}
		}
		return decimal(largest, "kB", "MB", "GB")
	case unitSeconds:
		switch {
		case largest >= 1:
			return displayScale{1, "s"}
		case largest >= 1e-3:
			return displayScale{1e3, "ms"}
		}
		return displayScale{1e6, "µs"}
	case unitCost:
		return displayScale{1, "s/GB"}
	}
	return displayScale{1, ""}
}

func decimal(largest float64, kilo, mega, giga string) displayScale {
	switch {
	case largest >= 1e9:
		return displayScale{1e-9, giga}
	case largest >= 1e6:
		return displayScale{1e-6, mega}
	}
	return displayScale{1e-3, kilo}
}

// format returns the value in this scale, without the unit.
func (s displayScale) format(v float64) string {
	v *= s.factor
	if s.factor == 1 && v == math.Trunc(v) && s.unit != "s" && s.unit != "s/GB" {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return significant(v)
}

// significant formats v with three significant digits and without an exponent.
func significant(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', max(0, min(6, digits)), 64)
}

// String returns the ratio, such as 1.40×.
func (e Estimate) String() string { return ratio(e.Value) }

// Interval returns the 95 % interval, such as 1.17–1.56, or a dash if there is
// none.
func (e Estimate) Interval() string {
	if !e.Bounded() {
		return "–"
	}
	return ratioNumber(e.Low) + "–" + ratioNumber(e.High)
}

func ratio(v float64) string { return ratioNumber(v) + "×" }

// ratioNumber formats a ratio with two decimals between 0.1 and 10, with three
// significant digits outside of that, and as a bound beyond 0.001 and 999.
func ratioNumber(v float64) string {
	switch {
	case v > 999:
		return ">999"
	case v < 0.001:
		return "<0.001"
	case v >= 10, v < 0.1:
		return significant(v)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// clean returns s with every character that is not printable replaced: control
// characters could steer a terminal or break a line.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if !strconv.IsPrint(c) {
			return '\uFFFD'
		}
		return c
	}, s)
}
