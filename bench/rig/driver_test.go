package rig

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestShippedDrivers(t *testing.T) {
	all, err := shippedDrivers()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		for _, self := range []string{"a", "b"} {
			x := d.at(place{dir: "/run/x", self: self, other: "o", a: endA, b: endB, mtu: 1420})
			for _, s := range texts(x) {
				if strings.Contains(s, "${") {
					t.Errorf("%s: %q has an unknown variable", d.Name, s)
				}
			}
			if (len(x.Prepare) > 0) && self == "b" {
				t.Errorf("%s: both ends prepare", d.Name)
			}
		}
	}
}

func texts(x *external) []string {
	out := append(append(append(append(append([]string{}, x.Environment...), x.Server...), x.Start...), x.Ready...), x.Address...)
	for _, argv := range x.Prepare {
		out = append(out, argv...)
	}
	for path, content := range x.Files {
		out = append(out, path, content)
	}
	return out
}

func TestDriverPlaces(t *testing.T) {
	d, err := parseDriver("d.yaml", []byte(`
name: d
environment: {X: "${MTU}", A: "${DIR}"}
files: {"${SELF}.conf": "peer ${OTHER} at ${UNDERLAY_OTHER} as ${TUNNEL_OTHER}"}
server: [s, "${UNDERLAY_A}"]
prepare: [[p, "${TUNNEL_A}", "${TUNNEL_B}"]]
start: [d, "${UNDERLAY_SELF}", "${TUNNEL_SELF}"]
`))
	if err != nil {
		t.Fatal(err)
	}
	got := d.at(place{dir: "/run/x", self: "b", other: "a", a: endA, b: endB, mtu: 1400})
	want := &external{
		Name: "d", Environment: []string{"A=/run/x", "X=1400"},
		Files: map[string]string{"/run/x/b.conf": "peer a at 10.99.0.1 as 10.7.0.1"},
		Start: []string{"d", "10.99.0.2", "10.7.0.2"}, Ready: []string{}, Address: []string{}, PIDs: []string{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("end b: %+v, want %+v", got, want)
	}
	got = d.at(place{dir: "/run/x", self: "a", other: "b", a: endA, b: endB, mtu: 1400})
	if !reflect.DeepEqual(got.Server, []string{"s", "10.99.0.1"}) || !reflect.DeepEqual(got.Prepare, [][]string{{"p", "10.7.0.1", "10.7.0.2"}}) {
		t.Errorf("end a: %+v", got)
	}
}

func TestDriverErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "EOF"},
		{"name: x\n", "start is missing"},
		{"start: [x]\n", `name ""`},
		{"name: a,b\nstart: [x]\n", "one word"},
		{"name: x\nstart: [x]\nspeed: fast\n", "speed"},
		{"name: x\nstart: [x]\nfiles: {../../etc/passwd: x}\n", "within"},
		{"name: x\nstart: [x]\nfiles: {/etc/passwd: x}\n", "within"},
		{strings.Repeat("#", maxDriver+1), "larger"},
	} {
		_, err := parseDriver("d.yaml", []byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "d.yaml") {
			t.Errorf("%.40q: error %v, want one with %q", tt.text, err, tt.want)
		}
	}
}

func TestChoose(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name   string
		config Config
		want   string // why the last subject is skipped, or the error
		fails  bool
	}{
		{"unknown", Config{Subjects: []string{"openvpn"}}, `subject "openvpn"`, true},
		{"twice", Config{Subjects: []string{"raw", "raw"}}, "duplicate subject raw", true},
		{"base", Config{Subjects: []string{"raw"}, Base: "kernel"}, `base "kernel"`, true},
		{"none", Config{Subjects: []string{"kernel"}, Unprivileged: true}, "no subject can run here: kernel: needs root", true},
		{"root", Config{Subjects: []string{"raw", "wirespan-tun"}, Unprivileged: true}, "needs root", false},
		{"upstream", Config{Subjects: []string{"raw", "wireguard-go"}, WireGuardGo: "/nonexistent"}, "/nonexistent", false},
		{"driver", Config{Subjects: []string{"raw", "mine"}, Drivers: []string{file}}, "not on PATH: no-such-program", false},
		{"no driver", Config{Subjects: []string{"raw"}, Drivers: []string{file + "x"}}, "mine.yamlx", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write("name: mine\nneeds: [no-such-program]\nstart: [x]\n")
			got, err := choose(&tt.config)
			text := ""
			if err != nil {
				text = err.Error()
			} else {
				text = got[len(got)-1].Skipped
			}
			if (err != nil) != tt.fails || !strings.Contains(text, tt.want) {
				t.Errorf("%q, error %v, want %q", text, err, tt.want)
			}
		})
	}
	write("name: raw\nstart: [x]\n")
	if _, err := choose(&Config{Drivers: []string{file}}); err == nil {
		t.Error("a driver took the name of a built-in subject")
	}
}

func FuzzParseDriver(f *testing.F) {
	f.Add([]byte("name: x\nstart: [x]\nfiles: {a: b}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDriver("x", data)
		if err != nil {
			return
		}
		x := d.at(place{dir: "/run/x", self: "a", other: "b", a: endA, b: endB})
		for path := range x.Files {
			if !strings.HasPrefix(path, "/run/x/") && path != "/run/x" {
				t.Errorf("file %q is outside of the run's directory", path)
			}
		}
	})
}
