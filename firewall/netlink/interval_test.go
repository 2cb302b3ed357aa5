package netlink

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

func addr(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func TestIntervals(t *testing.T) {
	for prefix, want := range map[string]Interval{
		"10.0.0.0/24":        {addr("10.0.0.0"), addr("10.0.1.0")},
		"10.0.0.1/32":        {addr("10.0.0.1"), addr("10.0.0.2")},
		"0.0.0.0/0":          {From: addr("0.0.0.0")},
		"255.255.255.255/32": {From: addr("255.255.255.255")},
		"fd00::/64":          {addr("fd00::"), addr("fd00:0:0:1::")},
		"ff00::/8":           {From: addr("ff00::")},
	} {
		got := Intervals([]netip.Prefix{netip.MustParsePrefix(prefix)})
		if !slices.Equal(got, []Interval{want}) || got[0].String() != prefix {
			t.Errorf("%s is %v, want %v", prefix, got, want)
		}
	}
	for text, i := range map[string]Interval{
		"10.0.0.1 to 10.0.0.3": {addr("10.0.0.1"), addr("10.0.0.4")},
		"10.0.0.1 to the last": {From: addr("10.0.0.1")},
	} {
		if got := i.String(); got != text {
			t.Errorf("%q, want %q", got, text)
		}
	}
}

func TestPair(t *testing.T) {
	start := func(s string) element { return element{addr(s), false} }
	end := func(s string) element { return element{addr(s), true} }
	for name, tt := range map[string]struct {
		elements []element
		want     []Interval // nil: no intervals
	}{
		"empty":               {nil, []Interval{}},
		"any order":           {[]element{end("10.3.0.0"), start("10.0.0.0"), end("10.1.0.0"), start("10.2.0.0")}, []Interval{{addr("10.0.0.0"), addr("10.1.0.0")}, {addr("10.2.0.0"), addr("10.3.0.0")}}},
		"adjacent":            {[]element{start("10.1.0.0"), end("10.1.0.0"), start("10.0.0.0"), end("10.2.0.0")}, []Interval{{addr("10.0.0.0"), addr("10.1.0.0")}, {addr("10.1.0.0"), addr("10.2.0.0")}}},
		"up to the last":      {[]element{start("ff00::")}, []Interval{{From: addr("ff00::")}}},
		"gap at the lowest":   {[]element{end("0.0.0.0"), start("10.0.0.0"), end("11.0.0.0")}, []Interval{{addr("10.0.0.0"), addr("11.0.0.0")}}},
		"start without end":   {[]element{start("10.0.0.0"), start("10.1.0.0"), end("10.2.0.0")}, nil},
		"end without start":   {[]element{end("10.0.0.0")}, nil},
		"a catch-all element": {[]element{{}}, nil},
	} {
		got, err := pair(tt.elements)
		if tt.want == nil && !errors.Is(err, ErrNotIntervals) || tt.want != nil && (err != nil || !slices.Equal(got, tt.want)) {
			t.Errorf("%s: %v, %v, want %v", name, got, err, tt.want)
		}
	}
}
