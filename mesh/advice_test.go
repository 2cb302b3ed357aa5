package mesh

import (
	"os/exec"
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
