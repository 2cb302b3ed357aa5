package bench

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

func encode(t testing.TB, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := Encode(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRoundTrip(t *testing.T) {
	r := sampleReport()
	text := encode(t, r)
	got, err := Decode(strings.NewReader(text), "a.json")
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("read back:\n%+v\nwant\n%+v", got, r)
	}
	golden(t, "report", text)
}

func TestEncodeRefuses(t *testing.T) {
	r := sampleReport()
	r.Runs[1].Values["udp.max"] = math.NaN()
	err := Encode(&bytes.Buffer{}, r)
	if err == nil || !strings.Contains(err.Error(), "udp.max of wireguard-go, repetition 0") {
		t.Error(err)
	}
}

func TestDecodeErrors(t *testing.T) {
	report := func(rest string) string { return fmt.Sprintf(`{"schema":%q,%s}`, Schema, rest) }
	for name, c := range map[string]struct{ in, want string }{
		"empty":           {"", "not a benchmark report"},
		"not JSON":        {"TCP 2.4 Gb/s", "not a benchmark report"},
		"a list":          {"[]", "not a benchmark report"},
		"trailing":        {report(`"kind":"local"`) + "{}", "not a benchmark report"},
		"no schema":       {"{}", `schema ""`},
		"next version":    {`{"schema":"wirespan.bench/2","runs":7}`, `schema "wirespan.bench/2": this program reads wirespan.bench/1`},
		"wrong type":      {report(`"runs":7`), "runs"},
		"nameless":        {report(`"subjects":[{}]`), "without a name"},
		"twice":           {report(`"subjects":[{"name":"a"},{"name":"a"}]`), `duplicate subject "a"`},
		"unknown base":    {report(`"base":"b"`), `base "b"`},
		"unknown subject": {report(`"runs":[{"subject":"b"}]`), `a run of "b"`},
		"run twice":       {report(`"subjects":[{"name":"a"}],"runs":[{"subject":"a"},{"subject":"a"}]`), "repetition 0"},
		"negative index":  {report(`"subjects":[{"name":"a"}],"runs":[{"subject":"a","index":-1}]`), "index"},
		"negative value":  {report(`"subjects":[{"name":"a"}],"runs":[{"subject":"a","values":{"mtu":-1}}]`), "mtu is -1"},
		"huge value":      {report(`"subjects":[{"name":"a"}],"runs":[{"subject":"a","values":{"mtu":1e300}}]`), "out of range"},
		"tiny value":      {report(`"subjects":[{"name":"a"}],"runs":[{"subject":"a","values":{"mtu":1e-300}}]`), "out of range"},
		"negative load":   {report(`"subjects":[{"name":"a"}],"runs":[{"subject":"a","busy":-1}]`), "background load"},
		"long id":         {report(`"subjects":[{"name":"a"}],"runs":[{"subject":"a","values":{"` + strings.Repeat("x", 65) + `":1}}]`), "metric id"},
		"too large":       {report(`"notes":["` + strings.Repeat("x", maxReportSize) + `"]`), "larger than 16 MiB"},
	} {
		_, err := Decode(strings.NewReader(c.in), "a.json")
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "report a.json: ") {
			t.Errorf("%s: %.200v, want %q", name, err, c.want)
		}
	}
}

// Whatever Decode accepts can be shown, compared and encoded again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(encode(f, sampleReport())))
	f.Add([]byte(`{"schema":"wirespan.bench/1","base":"a","subjects":[{"name":"a"},{"name":"\u001b<b>"}],"runs":[{"subject":"a","values":{"x":0,"tcp.up.1":1e18}},{"subject":"\u001b<b>","values":{"x":1e-12,"tcp.up.1":1e-12}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(bytes.NewReader(data), "f")
		if err != nil {
			return
		}
		again, err := Decode(strings.NewReader(encode(t, r)), "f")
		if err != nil {
			t.Fatal(err)
		}
		var table, page bytes.Buffer
		if err := r.WriteTable(&table); err != nil {
			t.Fatal(err)
		}
		if err := WriteHTML(&page, r); err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(table.Bytes(), "\x00\x1b\r") {
			t.Error("control characters in the table")
		}
		if bytes.Contains(page.Bytes(), []byte(`="NaN`)) || bytes.Contains(page.Bytes(), []byte(`Inf"`)) {
			t.Error("a number that cannot be drawn")
		}
		c := Compare(r, again, 1)
		if err := c.WriteTable(&table); err != nil {
			t.Fatal(err)
		}
		if fails := c.Failures(); len(fails) > 0 {
			t.Errorf("a report compared with itself fails: %v", fails)
		}
	})
}
