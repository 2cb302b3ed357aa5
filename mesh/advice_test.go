package mesh

import (
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// Whatever a node is called, a shell takes it for one argument, and runs nothing.
func TestShellWord(t *testing.T) {
	for s, want := range map[string]string{
		"9VZmSqTGzCUuL54yPGRXiSWPCZjKUGZcGTxqbmMuBLq": "9VZmSqTGzCUuL54yPGRXiSWPCZjKUGZcGTxqbmMuBLq",
		"node-1.example":           "node-1.example",
		"":                         "''",
		"x;touch${IFS}/pwned;#":    "'x;touch${IFS}/pwned;#'",
		"$(id)`id` \\ \"a\" *!~\n": "'$(id)`id` \\ \"a\" *!~\n'",
		"it's":                     `'it'\''s'`,
		"-rf":                      "-- -rf",
		"--x y":                    "-- '--x y'",
		"é":                        "'é'",
	} {
		got := shellWord(s)
		if got != want {
			t.Errorf("shellWord(%q) = %s, want %s", s, got, want)
		}
		out, err := exec.Command("sh", "-c", "printf '<%s>' "+strings.TrimPrefix(got, "-- ")).Output()
		if err != nil || string(out) != "<"+s+">" {
			t.Errorf("a shell takes %s for %q, %v", got, out, err)
		}
	}
}

// The advice for a quarantined node quotes its id.
func TestAdviceIsQuoted(t *testing.T) {
	in := testInput()
	evil := testPeer("x;touch${IFS}pwned;#", "11")
	in.Affiliates = []Affiliate{evil}
	in.Pins = Decide(in, testNow).Pins
	in.Affiliates[0].PublicKey = testKey("another")
	cs := Decide(in, testNow).Conditions
	if len(cs) != 1 || !strings.HasSuffix(cs[0].Message, "run: wirespan accept 'x;touch${IFS}pwned;#'") {
		t.Errorf("conditions %+v", cs)
	}
}

func TestQuoteName(t *testing.T) {
	for s, want := range map[string]string{
		"node-1":           "node-1",
		"":                 "",
		"é":                "é",
		"a b":              `"a b"`,
		"a ":               `"a "`,
		"a\nb":             `"a\nb"`,
		"a\x1b[31m":        `"a\x1b[31m"`,
		"a\u202eb":         `"a\u202eb"`,
		"a\xff":            `"a\xff"`,
		`"a"`:              `"\"a\""`,
		"$(touch${IFS}/x)": "$(touch${IFS}/x)",
	} {
		if got := QuoteName(s); got != want {
			t.Errorf("QuoteName(%q) = %s, want %s", s, got, want)
		}
	}
}

// Advice holds names that their nodes chose, in a form that is one word of the sentence,
// and one setting. FuzzDecide looks at all conditions.
func TestNamesInAdviceAreQuoted(t *testing.T) {
	in := testInput()
	evil := testPeer("n1", "11")
	evil.Nodename = hostileName
	evil.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("8.8.8.0/24")}
	in.Affiliates = []Affiliate{evil}
	quoted := strconv.Quote(hostileName)
	for signed, want := range map[bool]string{
		true:  "does not use: " + quoted,
		false: "allowedNetworks: [" + strings.TrimSuffix(quoted, `"`) + `=8.8.8.0/24"] would`,
	} {
		in.Config.RequireSigned = signed
		cs := Decide(in, testNow).Conditions
		if len(cs) != 1 || !strings.Contains(cs[0].Message, want) {
			t.Errorf("conditions %+v, want one with %s", cs, want)
		}
	}
}
