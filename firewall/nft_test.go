package firewall_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	. "github.com/wirespan/wirespan/firewall"
)

var implied = regexp.MustCompile(`meta nfproto ipv[46] (meta l4proto (ipv6-)?icmp)`)

var counts = regexp.MustCompile(` packets \d+ bytes \d+`)

// TestTextIsNft loads texts into nftables, each in a new network namespace, and
// compares them with what nft then prints.
func TestTextIsNft(t *testing.T) {
	privileged(t)
	policies := goldenPolicies(t)
	policies["large"] = largePolicy(10_000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		data := make([]byte, 10+rng.IntN(300))
		for j := range data {
			data[j] = byte(rng.Uint32())
		}
		policies[fmt.Sprintf("random %d", i)] = (&chooser{data}).policy()
	}
	for name, p := range policies {
		t.Run(name, func(t *testing.T) {
			rs := Compile(p)
			out, err := loadAndList(rs)
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, rs)
			}
			// nft omits matches that others imply.
			want := implied.ReplaceAllString(rs.String(), "$1")
			want, _, _ = strings.Cut(want, "# ip")
			if got := counts.ReplaceAllString(out, ""); got != want {
				t.Errorf("nft prints\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestCommandsAreIP runs the commands in the comments of texts.
func TestCommandsAreIP(t *testing.T) {
	privileged(t)
	for name, p := range goldenPolicies(t) {
		t.Run(name, func(t *testing.T) {
			script := "set -e\nip link set lo up\nip tuntap add " + p.Interface + " mode tun\nip link set " + p.Interface + " up\n"
			rs := Compile(p)
			for _, r := range rs.Rules {
				script += r.String() + "\n"
			}
			for _, r := range rs.Routes {
				script += r.String() + "\n"
			}
			mark := p.TunnelMark
			if !p.ByMark() {
				mark = 0
			}
			script += "ip link del " + p.Interface + "\nip route get 192.0.2.7 mark " + fmt.Sprint(mark) + " 2>&1 || true\n"
			if p.Subnet.IsValid() {
				script += "ip route get " + p.Subnet.Addr().Next().String() + " 2>&1 || true\n"
			}
			out, err := inNamespace("sh", "-c", script)
			want := "RTNETLINK answers: No route to host\n"
			if p.Subnet.IsValid() {
				want += want
			}
			if err != nil || out != want {
				t.Errorf("%v, printed\n%s\nwant\n%s\nof\n%s", err, out, want, script)
			}
		})
	}
}

// TestTableNames checks that nft accepts table names that Check accepts.
func TestTableNames(t *testing.T) {
	privileged(t)
	for _, name := range []string{"a", "A9", "wirespan", "mesh-2", "a_b.c", "filter", "nat", "tunnel", "default"} {
		n := testNumbers()
		n.Table = name
		if err := n.Check(); err != nil {
			t.Error(err)
		}
		if out, err := inNamespace("nft", "add table inet "+name+"\nlist table inet "+name); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

func loadAndList(rs Ruleset) (string, error) {
	f, err := os.CreateTemp("", "firewall-*.nft")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(rs.String()); err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	return inNamespace("sh", "-c", "nft -c -f $0 && nft -f $0 && nft list table inet "+rs.Table, f.Name())
}

// inNamespace runs a command in a new network namespace.
func inNamespace(command ...string) (string, error) {
	out, err := exec.Command("unshare", append([]string{"--net", "--"}, command...)...).CombinedOutput()
	return string(out), err
}

// privileged skips a test without root, and fails it as root without nft.
func privileged(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("short")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, tool := range []string{"nft", "ip", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatal(err)
		}
	}
}
