package main

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/config"
)

// commands walks the tree below cmd.
func commands(cmd *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{cmd}
	for _, sub := range cmd.Commands() {
		out = append(out, commands(sub)...)
	}
	return out
}

func TestEveryCommandHasHelp(t *testing.T) {
	for _, cmd := range commands(newRoot(stdio{})) {
		if cmd.Hidden {
			continue
		}
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short = %q, want a sentence without its full stop", path, cmd.Short)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") || !strings.Contains(line, "wirespan ") {
				t.Errorf("%s: example %q", path, line)
			}
		}
		if cmd.Example == "" || cmd.Args == nil {
			t.Errorf("%s: Example or Args is missing", path)
		}
		var out bytes.Buffer
		args := append(strings.Fields(path)[1:], "--help")
		if code := run(context.Background(), args, stdio{nil, &out, &out}); code != 0 {
			t.Errorf("%s --help = %d", path, code)
		}
		for _, want := range []string{"Usage:\n  " + path, "Examples:\n", "--control-socket", "--state-dir"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s --help lacks %q:\n%s", path, want, out.String())
			}
		}
	}
}

// Whatever no command takes is a usage error of each.
func TestUsageErrors(t *testing.T) {
	for _, cmd := range commands(newRoot(stdio{})) {
		path := strings.Fields(cmd.CommandPath())[1:]
		for _, wrong := range [][]string{{"--no-such-flag"}, {"a", "b", "c", "--listen-port", "many"}, {"--logging-level"}} {
			if cmd.Name() == "validate" && wrong[0] == "a" {
				wrong = wrong[2:] // any number of files is fine
			}
			var out, errs bytes.Buffer
			args := append(slices.Clone(path), wrong...)
			code := run(context.Background(), args, stdio{strings.NewReader(""), &out, &errs})
			if code != exitUsage || out.Len() > 0 || !strings.HasPrefix(errs.String(), "wirespan: ") || !strings.Contains(errs.String(), " --help' for usage.\n") {
				t.Errorf("%q = %d, %q, %q", args, code, out.String(), errs.String())
			}
		}
	}
}

func TestEveryEnumerationCompletes(t *testing.T) {
	complete := func(args ...string) string {
		var out bytes.Buffer
		if code := run(context.Background(), append([]string{cobra.ShellCompNoDescRequestCmd}, args...), stdio{nil, &out, io.Discard}); code != 0 {
			t.Errorf("completing %q = %d", args, code)
		}
		return out.String()
	}
	for _, s := range config.Settings() {
		if len(s.Values) == 0 {
			continue
		}
		if got, want := complete("status", "--"+s.Flag(), ""), strings.Join(s.Values, "\n")+"\n:4\n"; got != want {
			t.Errorf("--%s completes to %q, want %q", s.Flag(), got, want)
		}
	}
	for _, test := range []struct {
		want string
		args []string
	}{
		{"up\n", []string{""}},
		{"kubespanpeerstatuses\n", []string{"get", ""}},
		{"json\n", []string{"status", "-o", ""}},
		{"ready\n", []string{"status", "--check", ""}},
	} {
		if got := complete(test.args...); !strings.Contains(got, test.want) {
			t.Errorf("%q completes to %q, want %q in it", test.args, got, test.want)
		}
	}
}

func TestSettingFlags(t *testing.T) {
	t.Setenv("WIRESPAN_NODENAME", "from-env")
	t.Setenv("WIRESPAN_HOSTNAME", "") // counts as not set
	t.Setenv("WIRESPAN_ADDRESS_FILTERS", "eth0, eth1")
	t.Setenv("WIRESPAN_MACHINE_TYPE", "worker")
	t.Setenv("WIRESPAN_CONFIG", "/dev/null")
	load := func(args ...string) *config.Config {
		t.Helper()
		c := &cli{}
		root := &cobra.Command{RunE: func(*cobra.Command, []string) error { return nil }}
		c.addFlags(root)
		root.SetArgs(args)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		cfg, err := c.load(true)
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	cfg := load()
	if cfg.Nodename != "from-env" || cfg.Hostname != "" || len(cfg.AddressFilters) != 2 || cfg.MachineType != mesh.MachineWorker {
		t.Errorf("from the environment: %+v", cfg.Wirespan)
	}
	cfg = load("--nodename", "first", "--nodename=last", "--advertise-discovery", "a.example,b.example:1",
		"--advertise-discovery", "c.example", "--no-clock-fix", "--announce-as-member=false", "--address-filters", "eth2")
	if cfg.Nodename != "last" || cfg.AnnounceAsMember || !cfg.NoClockFix || len(cfg.AddressFilters) != 1 ||
		!slices.Equal(cfg.AdvertiseDiscovery, []string{"a.example", "b.example:1", "c.example"}) {
		t.Errorf("from flags: %+v", cfg.Wirespan)
	}
}

func TestNotUp(t *testing.T) {
	s := &agent.Status{Peers: []agent.PeerView{{Label: "a", State: mesh.PeerStateUp}, {Label: "b", State: mesh.PeerStateDown}}}
	for want, text := range map[string]string{
		"a": "", "b": "b is down", "all": "b is down", "c": `peer "c": not in the mesh; known are: a, b`,
	} {
		if got := notUp(s, want); got != text {
			t.Errorf("notUp(%q) = %q, want %q", want, got, text)
		}
	}
	if got := notUp(&agent.Status{}, "all"); got != "no peers are known" {
		t.Errorf("notUp without peers = %q", got)
	}
}

func TestStatusTable(t *testing.T) {
	now := time.Now()
	s := &agent.Status{
		Cluster: "abcdefgh", Enabled: true, Backend: "tun", BackendReason: "because",
		Node:       agent.NodeStatus{Nodename: "self", Address: netip.MustParseAddr("fd00::1"), ListenPort: 51820, MTU: 1420, Interface: "wirespan0"},
		Discovery:  []agent.DiscoveryStatus{{Name: "one", Server: "d.example:443", Error: "no route", Since: now.Add(-time.Minute)}},
		Conditions: []agent.ConditionView{{Type: "DuplicateAddress", Subject: "b", Message: "b has our address."}},
		Peers: []agent.PeerView{
			{Label: "b", Address: netip.MustParseAddr("fd00::2"), State: mesh.PeerStateUp, Endpoint: netip.MustParseAddrPort("192.0.2.2:51820"), ReceiveBytes: 1536, TransmitBytes: 7, LastHandshake: now.Add(-5 * time.Second)},
			{PublicKey: mesh.Key{1}, Address: netip.MustParseAddr("fd00::3")},
		},
	}
	const want = `Node:         self
Address:      fd00::1
Cluster:      abcdefgh…
Data plane:   tun wirespan0, UDP port 51820, MTU 1420 (because)
Discovery:    one d.example:443, not connected for 1m0s: no route
Problem: DuplicateAddress: b has our address.

PEER                                           STATE     ADDRESS   ENDPOINT          HANDSHAKE   RX        TX
b                                              up        fd00::2   192.0.2.2:51820   5s ago      1.5 KiB   7 B
AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=   unknown   fd00::3   -                 never       0 B       0 B
`
	var out bytes.Buffer
	if err := showStatus(&out, outputTable, s); err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), want)
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 5 << 40: "5.0 TiB", 3 << 60: "3072.0 PiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("bytesText(%d) = %q, want %q", n, got, want)
		}
	}
}

// Every resource type has its table.
func TestColumns(t *testing.T) {
	for _, typ := range agent.ResourceTypes {
		if columns[typ.Plural] == nil {
			t.Errorf("%s has no columns", typ.Plural)
		}
		for _, name := range append([]string{typ.Name, strings.ToUpper(typ.Plural)}, typ.Aliases...) {
			if got, err := agent.FindResourceType(name); err != nil || got.Name != typ.Name {
				t.Errorf("agent.FindResourceType(%q) = %v, %v", name, got.Name, err)
			}
		}
	}
	for plural, want := range map[string]string{
		"kubespanpeerspecs":    "ID VERSION LABEL ENDPOINTS",
		"kubespanpeerstatuses": "ID VERSION LABEL ENDPOINT STATE RX TX",
		"kubespanendpoints":    "ID VERSION ENDPOINT AFFILIATE ID",
	} {
		typ, _ := agent.FindResourceType(plural)
		if got := strings.Join(getter{typ: typ}.header(), " "); got != want {
			t.Errorf("%s: columns %q, want %q", plural, got, want)
		}
	}
}
