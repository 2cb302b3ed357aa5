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
	for _, cmd := range commands(newCLI(stdio{}).root(nil)) {
		if cmd.Hidden {
			continue
		}
		path := cmd.CommandPath()
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: Short = %q, want a sentence without its full stop", path, cmd.Short)
		}
		for line := range strings.Lines(strings.ReplaceAll(cmd.Example, "\\\n", "")) {
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
		for _, want := range []string{"Usage:\n  " + path, "Examples:\n", "--help"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s --help lacks %q:\n%s", path, want, out.String())
			}
		}
		for line := range strings.Lines(out.String()) {
			if runes(strings.TrimSuffix(line, "\n")) > helpWidth {
				t.Errorf("%s --help has a line of more than %d columns: %q", path, helpWidth, line)
			}
		}
	}
}

// Whatever no command takes is a usage error of each.
func TestUsageErrors(t *testing.T) {
	for _, cmd := range commands(newCLI(stdio{}).root(nil)) {
		if edgeBuild && cmd.Hidden {
			continue // TestLeftOutCommands
		}
		path := strings.Fields(cmd.CommandPath())[1:]
		for _, wrong := range [][]string{{"--no-such-flag"}, {"a", "b", "c"}, {"--listen-port", "many"}, {"--logging-level"}} {
			if slices.Contains([]string{"validate", "help", "expel", "exec"}, cmd.Name()) && wrong[0] == "a" {
				continue // any number is fine
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
	for s := range config.Settings() {
		if len(s.Values) == 0 {
			continue
		}
		if got, want := complete("up", "--"+s.Flag(), ""), strings.Join(s.Values, "\n")+"\n:4\n"; got != want {
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
		c := newCLI(stdio{})
		root := c.configures(&cobra.Command{RunE: func(*cobra.Command, []string) error { return nil }})
		root.SetArgs(args)
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		cfg, err := c.load()
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
	if cfg.Nodename != "last" || *cfg.AnnounceAsMember || !cfg.NoClockFix || len(cfg.AddressFilters) != 1 ||
		!slices.Equal(cfg.AdvertiseDiscovery, []string{"a.example", "b.example:1", "c.example"}) {
		t.Errorf("from flags: %+v", cfg.Wirespan)
	}
}

// testStatus is a status with what is hard to fit.
func testStatus(now time.Time) *agent.Status {
	return &agent.Status{
		Cluster: "abcdefgh", Enabled: true, Ready: true, Backend: "tun", BackendReason: "because",
		Node:       agent.NodeStatus{Nodename: "self", Address: netip.MustParseAddr("fd00::1"), ListenPort: 51820, MTU: 1420, Interface: "wirespan0"},
		Discovery:  []agent.DiscoveryStatus{{Name: "one", Server: "d.example:443", Error: "no route to any of the addresses that it has", Since: now.Add(-time.Minute)}},
		Conditions: []agent.ConditionView{{Type: "DuplicateAddress", Subject: "b", Message: "b has our address."}},
		Peers: []agent.PeerView{
			{Label: "a-name-that-is-rather-long-for-a-node", Address: netip.MustParseAddr("fd00::2"), State: mesh.PeerStateUp, Endpoint: netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:51820"), ReceiveBytes: 1 << 40, TransmitBytes: 1000 << 30, LastHandshake: now.Add(-5 * time.Second)},
			{Label: "b", Address: netip.MustParseAddr("fd00::3"), State: mesh.PeerStateDown, Reason: "no answer yet from its endpoint", Endpoint: netip.MustParseAddrPort("192.0.2.2:51820"), ReceiveBytes: 1536, TransmitBytes: 7, LastHandshake: now.Add(-3 * time.Hour)},
			{PublicKey: mesh.Key{1}},
		},
	}
}

func TestStatusTable(t *testing.T) {
	const narrow = `State:        up, 1 of 3 peers up
Problem:      DuplicateAddress: b has our address.
Node:         self
Address:      fd00::1
Cluster:      abcdefgh…
Data plane:   tun wirespan0, UDP port 51820, MTU 1420 (because)
Discovery:    one d.example:443, not connected for 1m: no route to any of the
              addresses that it has

PEER              STATE    HANDSHAKE  RX       TX          ENDPOINT
a-name-t…-a-node  up       5s ago     1.0 TiB  1000.0 GiB  [2001:db8:…666]:51820
  fd00::2
b                 down     3h ago     1.5 KiB  7 B         192.0.2.2:51820
  fd00::3
  no answer yet from its endpoint
AQAAAAAA…AAAAAA=  unknown  never      0 B      0 B         -
  -
`
	now := time.Now()
	var out bytes.Buffer
	if err := writeStatus(&out, testStatus(now), now, minWidth); err != nil || out.String() != narrow {
		t.Errorf("%v\n%s\nwant\n%s", err, out.String(), narrow)
	}
	for line := range strings.Lines(out.String()) {
		if runes(strings.TrimSuffix(line, "\n")) > minWidth {
			t.Errorf("%q has more than %d columns", line, minWidth)
		}
	}
	out.Reset()
	if err := writeStatus(&out, testStatus(now), now, 250); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"ENDPOINT  ", "   [2001:db8:1111:2222:3333:4444:5555:6666]:51820   fd00::2", "fd00::3   no answer yet from its endpoint\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("a wide status lacks %q:\n%s", want, out.String())
		}
	}
}

// Where peers are known from is shown if it is not one discovery service that answers.
func TestStatusSources(t *testing.T) {
	now := time.Now()
	s := &agent.Status{
		Discovery: []agent.DiscoveryStatus{
			{Kind: "cache", Name: "cache", Server: "affiliates.cache", Connected: true, Affiliates: 2, Since: now.Add(-time.Hour)},
			{Kind: "static", Name: "static", Server: "peers.yaml", Connected: true, Affiliates: 1},
			{Kind: "static", Name: "static", Server: "bad.yaml", Error: "bad.yaml:1: mistake"},
			{Kind: "k8s", Name: "k8s", Server: "api:6443", Connected: true, Since: now.Add(-time.Minute), Error: "patch: refused"},
		},
		Peers: []agent.PeerView{{Label: "a", Sources: []agent.SourceView{{Source: "service/one"}}}},
	}
	show := func(columns int) string {
		t.Helper()
		var out bytes.Buffer
		if err := writeStatus(&out, s, now, columns); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	text := show(minWidth)
	for _, want := range []string{"cache affiliates.cache, nodes: 2, last confirmed 1h ago\n", "static peers.yaml, peers: 1\n", "static bad.yaml, not connected: bad.yaml:1: mistake\n", "k8s api:6443, connected for 1m, this node is not published\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "service/one") {
		t.Errorf("an ordinary source is shown:\n%s", text)
	}
	s.Peers = append(s.Peers, agent.PeerView{Label: "b", Sources: []agent.SourceView{{Source: "static"}, {Source: "cache", Last: now.Add(-3 * time.Hour)}}}, agent.PeerView{Label: "c"})
	if text := show(minWidth); !strings.Contains(text, "\n  -  from static, cache 3h ago\n") || !strings.Contains(text, "\n  -  from service/one\n") || !strings.HasSuffix(text, "\n  -  from -\n") {
		t.Errorf("narrow:\n%s", text)
	}
	if text := show(250); !strings.Contains(text, "SOURCES") || !strings.Contains(text, "   static, cache 3h ago") {
		t.Errorf("wide:\n%s", text)
	}
}

func TestStateLine(t *testing.T) {
	for want, s := range map[string]agent.Status{
		"up":                              {Ready: true, Enabled: true},
		"discovery only":                  {Ready: true},
		"not ready: why":                  {NotReady: "why"},
		"not ready: why, 0 of 1 peers up": {NotReady: "why", Peers: make([]agent.PeerView, 1)},
	} {
		if got := stateLine(&s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFrame(t *testing.T) {
	for _, test := range []struct {
		lines int
		want  string
	}{
		{24, "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J"},
		{4, "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J"},
		{3, "\x1b[Ha\x1b[K\n… 2 more lines\x1b[K\n\x1b[J"},
		{0, "\x1b[Ha\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J"}, // unknown
	} {
		if got := frame("a\nb\nc\n", 80, test.lines); got != test.want {
			t.Errorf("%d lines: %q, want %q", test.lines, got, test.want)
		}
	}
}

func TestFrameCutsLongLines(t *testing.T) {
	if got := frame("abcdef\nabcd\n", 4, 24); got != "\x1b[Habc…\x1b[K\nabcd\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
}

func TestWrap(t *testing.T) {
	if got := wrap("one two three fourfivesix", 8); !slices.Equal(got, []string{"one two", "three", "fourfive", "six"}) {
		t.Errorf("%q", got)
	}
	if got := wrap("", 8); !slices.Equal(got, []string{""}) {
		t.Errorf("%q", got)
	}
	if got := shorten("abcdefghij", 6); got != "abc…ij" {
		t.Errorf("%q", got)
	}
}

func TestAgo(t *testing.T) {
	now := time.Now()
	for past, want := range map[time.Duration]string{
		-time.Second: "0s", 59 * time.Second: "59s", 90 * time.Second: "1m", 3 * time.Hour: "3h", 50 * time.Hour: "2d",
	} {
		if got := ago(now, now.Add(-past)); got != want {
			t.Errorf("%s: %q, want %q", past, got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{"0.2": 200 * time.Millisecond, "3": 3 * time.Second, "1m": time.Minute, "-1s": -time.Second} {
		var s seconds
		if err := s.Set(text); err != nil || time.Duration(s) != want {
			t.Errorf("%s: %s, %v", text, time.Duration(s), err)
		}
	}
	for _, text := range []string{"", "x", "1d", "nan", "inf", "1e300"} {
		if err := new(seconds).Set(text); err == nil {
			t.Errorf("%q was taken", text)
		}
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
		if tableOf(typ) == nil {
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
