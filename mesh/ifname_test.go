package mesh

import (
	"fmt"
	"strings"
	"testing"
)

func TestCheckInterfaceName(t *testing.T) {
	for _, name := range []string{"a", "wirespan0", "br-0a1b2c3d4e5f", "eth0.100", "wg_1+x=@#!", "...", strings.Repeat("x", MaxInterfaceName)} {
		if err := CheckInterfaceName(name); err != nil {
			t.Error(err)
		}
	}
	for name, reason := range map[string]string{
		"":                       "it is empty",
		"sixteen-letters-":       "it is longer than 15 bytes",
		strings.Repeat("x", 300): "it is longer than 15 bytes",
		".":                      "the kernel reserves it",
		"..":                     "the kernel reserves it",
		"a/b":                    "it contains '/'",
		"eth0:1":                 "it contains ':'",
		"wg%d":                   "it contains '%'",
		"wg*":                    "it contains '*'",
		`wg"0`:                   `it contains '"'`,
		`wg\0`:                   `it contains '\\'`,
		"a b":                    "it contains ' '",
		"a\x00":                  `it contains '\x00'`,
		"a\x7f":                  `it contains '\x7f'`,
		"wäre0":                  "it contains 'ä'",
		"wg\xff":                 "it contains '\ufffd'",
	} {
		want := fmt.Sprintf("%.100q is not an interface name: %s", name, reason)
		if err := CheckInterfaceName(name); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
