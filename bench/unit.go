package bench

import (
	"math"
	"strconv"
	"strings"
)

// Scale is how values of a metric are shown: multiplied and with a unit.
type Scale struct {
	Factor float64
	Unit   string
}

// ScaleFor chooses the scale at which the largest of a row of values reads well.
func ScaleFor(m Metric, largest float64) Scale {
	switch m.Unit {
	case UnitBits:
		return decimal(largest, "kb/s", "Mb/s", "Gb/s")
	case UnitPackets:
		return decimal(largest, "kpps", "Mpps", "Gpps")
	case UnitRate:
		return decimal(largest, "kB/s", "MB/s", "GB/s")
	case UnitBytes:
		if largest < 1e5 { // an MTU
			return Scale{1, "B"}
		}
		return decimal(largest, "kB", "MB", "GB")
	case UnitSeconds:
		switch {
		case largest >= 1:
			return Scale{1, "s"}
		case largest >= 1e-3:
			return Scale{1e3, "ms"}
		}
		return Scale{1e6, "µs"}
	case UnitCost:
		return Scale{1, "s/GB"}
	}
	return Scale{1, ""}
}

func decimal(largest float64, kilo, mega, giga string) Scale {
	switch {
	case largest >= 1e9:
		return Scale{1e-9, giga}
	case largest >= 1e6:
		return Scale{1e-6, mega}
	}
	return Scale{1e-3, kilo}
}

// Format is the value in this scale, without the unit.
func (s Scale) Format(v float64) string {
	v *= s.Factor
	if s.Factor == 1 && v == math.Trunc(v) && s.Unit != "s" && s.Unit != "s/GB" {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return significant(v)
}

// significant has three digits that count, and never an exponent.
func significant(v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	return strconv.FormatFloat(v, 'f', max(0, min(6, digits)), 64)
}

// String is the ratio, as 1.40×.
func (e Estimate) String() string { return ratio(e.Value) }

// Interval is the 95 % interval, as 1.17–1.56, or a dash if there is none.
func (e Estimate) Interval() string {
	if !e.Bounded() {
		return "–"
	}
	return ratioNumber(e.Low) + "–" + ratioNumber(e.High)
}

func ratio(v float64) string { return ratioNumber(v) + "×" }

// ratioNumber keeps two decimals where they count: 0.07, 1.40, 12.7, over 999.
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

// clean is s without characters that would steer a terminal or break a line.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if !strconv.IsPrint(c) {
			return '\uFFFD'
		}
		return c
	}, s)
}
