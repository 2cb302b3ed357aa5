package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ownEtc gives this thread an /etc of its own, with these files, and no settings in the
// environment.
func ownEtc(t *testing.T, files map[string]string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", "/etc", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		path := filepath.Join("/etc", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, variable := range os.Environ() {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, variablePrefix) {
			t.Setenv(name, value) // so that it is restored
			_ = os.Unsetenv(name)
		}
	}
}

// What is in the usual places counts, in this order, each with and without the others.
func TestDefaultFiles(t *testing.T) {
	const document = "apiVersion: v1alpha1\nkind: WirespanConfig\n"
	main, early, late := document+"listenPort: 1001\nnodename: main\n", document+"listenPort: 1002\nnodename: early\n", document+"listenPort: 1003\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // lines
	}{
		"nothing":      {nil, nil},
		"config.yaml":  {map[string]string{"wirespan/config.yaml": main}, []string{"listenPort 1001 /etc/wirespan/config.yaml:3", "nodename main /etc/wirespan/config.yaml:4"}},
		"empty layers": {map[string]string{"wirespan/config.yaml": main, "wirespan/config.d/README": "x"}, []string{"listenPort 1001 /etc/wirespan/config.yaml:3", "nodename main /etc/wirespan/config.yaml:4"}},
		"layers alone": {
			map[string]string{"wirespan/config.d/90-late.yml": late, "wirespan/config.d/10-early.yaml": early, "wirespan/config.d/.hidden.yaml": "{", "wirespan/config.d/50-old.yaml.bak": "{"},
			[]string{"listenPort 1003 /etc/wirespan/config.d/90-late.yml:3", "nodename early /etc/wirespan/config.d/10-early.yaml:4"},
		},
		"all": {
			map[string]string{"wirespan/config.yaml": main, "wirespan/config.d/90-late.yaml": late, "default/wirespan": "WIRESPAN_NODENAME='env'\n"},
			[]string{"listenPort 1003 /etc/wirespan/config.d/90-late.yaml:3", "nodename env WIRESPAN_NODENAME"},
		},
		"environment alone": {map[string]string{"default/wirespan": "# x\nOTHER=1\nWIRESPAN_NODENAME=\"env\"\n"}, []string{"nodename env WIRESPAN_NODENAME"}},
	} {
		t.Run(name, func(t *testing.T) {
			ownEtc(t, c.files)
			t.Setenv("WIRESPAN_NODENAME", "")
			_ = os.Unsetenv("WIRESPAN_NODENAME")
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"validate"}, stdio{strings.NewReader(""), &out, &errs}); code != 0 {
				t.Fatalf("exit code %d: %s", code, errs.String())
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				if fields := strings.Fields(line); fields[0] != "valid:" {
					got = append(got, strings.Join(fields, " "))
				}
			}
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A variable that the units get, and that is no setting, is refused by name.
func TestMisspeltVariables(t *testing.T) {
	for given, want := range map[string]string{
		"WIRESPAN_LISTENPORT":           "WIRESPAN_LISTEN_PORT",
		"wirespan_listen_port":          "WIRESPAN_LISTEN_PORT",
		"WIRESPAN_STATEDIR":             "WIRESPAN_STATE_DIR",
		"WIRESPAN_NODE_NAME":            "WIRESPAN_NODENAME",
		"WIRESPAN_INTERFACE":            "WIRESPAN_INTERFACE_NAME",
		"WIRESPAN_LOG_LEVEL":            "WIRESPAN_LOGGING_LEVEL",
		"WIRESPAN_ADVERTISED_NETWORK":   "WIRESPAN_ADVERTISED_NETWORKS",
		"WIRESPAN_CONTROLSOCKET":        "WIRESPAN_CONTROL_SOCKET",
		"WIRESPAN_TOKEN":                "WIRESPAN_JOIN",
		"WIRESPAN_CONFIG_FILE":          "WIRESPAN_CONFIG",
		"WIRESPAN_ADVERTISE_NETWORKS":   "WIRESPAN_ADVERTISED_NETWORKS",
		"WIRESPAN_FIREWALL_ROUTE_TABLE": "WIRESPAN_FIREWALL_ROUTING_TABLE",
		"WIRESPAN_NO_CLOCKFIX":          "WIRESPAN_NO_CLOCK_FIX",
	} {
		t.Run(given, func(t *testing.T) {
			ownEtc(t, map[string]string{"default/wirespan": given + "=x\n"})
			t.Setenv(given, "")
			_ = os.Unsetenv(given)
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"validate"}, stdio{strings.NewReader(""), &out, &errs}); code != exitFailure {
				t.Errorf("exit code %d", code)
			}
			if hint := given + ": no such setting; did you mean " + want + "?"; !strings.Contains(errs.String(), hint) {
				t.Errorf("%s\nwant %s", errs.String(), hint)
			}
		})
	}
}
