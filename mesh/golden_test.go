package mesh

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "rewrite the plans in testdata")

// TestPlans compares whole plans with ../testdata/plan/*.txtar. Each has an
// Input as YAML, in which <name> stands for a public key, and the plan as text.
// What an input leaves out is taken from testInput.
func TestPlans(t *testing.T) {
	names, err := filepath.Glob("../testdata/plan/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no plans found: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(archive.Files) != 2 || archive.Files[0].Name != "input.yaml" || archive.Files[1].Name != "plan.golden" {
				t.Fatalf("%s: want input.yaml and plan.golden", name)
			}
			keys := map[string]string{testKey("self").String(): "<self>"}
			got := render(Decide(planInput(t, archive.Files[0].Data, keys), testNow), keys)
			if *update {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(archive.Files[1].Data); got != want {
				t.Errorf("plan is\n%s\nwant\n%s\n(go test ./mesh -run TestPlans -update rewrites it)", got, want)
			}
		})
	}
}

var keyName = regexp.MustCompile(`<\w+>`)

// planInput reads an Input and notes the names of keys.
func planInput(t *testing.T, data []byte, keys map[string]string) Input {
	t.Helper()
	data = keyName.ReplaceAllFunc(data, func(b []byte) []byte {
		k := testKey(strings.Trim(string(b), "<>")).String()
		keys[k] = string(b)
		return []byte(k)
	})
	in := testInput()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&in); err != nil {
		t.Fatal(err)
	}
	return in
}

func render(p Plan, keys map[string]string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	l := p.Local
	line("local %s hostname %s nodename %s type %s os %s", l.NodeID, text(l.Hostname), text(l.Nodename), l.MachineType, text(l.OperatingSystem))
	line("local addresses %s", list(l.Addresses))
	if !l.PublicKey.IsZero() {
		line("local kubespan %v address %v endpoints %s exclude %s", l.PublicKey, l.Address, list(l.Endpoints), list(l.ExcludeAdvertisedNetworks))
		if len(l.AdditionalAddresses) > 0 {
			line("local networks %s", list(l.AdditionalAddresses))
		}
	}
	for i, s := range p.Specs {
		line("peer %v %s (%s) address %s", s.PublicKey, text(s.Label), s.NodeID, text(valid(s.Address.IsValid(), s.Address)))
		line("  allowed %s", list(s.AllowedIPs))
		line("  endpoints %s", list(s.Endpoints))
		st, cfg := p.Statuses[i], p.Peers[i]
		line("  status %v endpoint %s rx %d tx %d handshake %s used %s since %s", st.State, text(valid(st.Endpoint.IsValid(), st.Endpoint)),
			st.ReceiveBytes, st.TransmitBytes, age(st.LastHandshakeTime), text(valid(st.LastUsedEndpoint.IsValid(), st.LastUsedEndpoint)), age(st.LastEndpointChange))
		line("  device endpoint %s keepalive %v", text(valid(cfg.Endpoint.IsValid(), cfg.Endpoint)), cfg.PersistentKeepalive)
	}
	line("routed %s", list(p.Routed))
	if p.ReturnByTunnel {
		line("replies return by the tunnel")
	}
	for _, r := range p.Routes {
		if r.Path != PathTunnel && r.Path != PathMesh && r.Path != PathDown {
			line("route %v of %s: %s", r.Prefix, text(p.Specs[r.Peer].Label), r.Path)
		}
	}
	for _, e := range p.Endpoints {
		line("harvested %v %s at %v", e.PublicKey, e.AffiliateID, e.Endpoint)
	}
	for _, m := range p.Members {
		line("member %s (%s) hostname %s type %s os %s addresses %s", m.Nodename, m.NodeID, text(m.Hostname), text(string(m.MachineType)), text(m.OperatingSystem), list(m.Addresses))
	}
	for _, c := range p.Conditions {
		line("condition %s %s: %s", c.Type, c.Subject, c.Message)
	}
	if p.Wake.IsZero() {
		line("wake never")
	} else {
		line("wake in %v", p.Wake.Sub(testNow))
	}
	out := b.String()
	for k, name := range keys {
		out = strings.ReplaceAll(out, k, name)
	}
	return out
}

func text(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func valid(ok bool, s fmt.Stringer) string {
	if !ok {
		return ""
	}
	return s.String()
}

func list[T fmt.Stringer](l []T) string {
	var out []string
	for _, v := range l {
		out = append(out, v.String())
	}
	return text(strings.Join(out, " "))
}

func age(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return testNow.Sub(at).String() + " ago"
}
