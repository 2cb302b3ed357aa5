package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// crossTargets are the targets of make cross, each with a command that runs its programs, if
// this machine does not, on a processor as weak as those that the target is for.
var crossTargets = map[string]struct {
	emulator  []string
	bigEndian bool
}{
	"amd64":   {emulator: []string{"qemu-x86_64-static", "-cpu", "qemu64"}},
	"arm64":   {emulator: []string{"qemu-aarch64-static", "-cpu", "cortex-a53"}},
	"arm":     {emulator: []string{"qemu-arm-static", "-cpu", "cortex-a7"}},
	"armv6":   {emulator: []string{"qemu-arm-static", "-cpu", "arm1176"}},
	"armv5":   {emulator: []string{"qemu-arm-static", "-cpu", "arm926"}},
	"riscv64": {emulator: []string{"qemu-riscv64-static"}},
	// Under qemu-i386-static, whatever Go makes crashes.
	"386": {}, "386-softfloat": {},
	"mipsle": {emulator: []string{"qemu-mipsel-static", "-cpu", "24Kc"}},
	"mips":   {emulator: []string{"qemu-mips-static", "-cpu", "24Kc"}, bigEndian: true},
	// Go's netpoll reads what is not aligned. Linux mends that on any processor, but the
	// emulator of programs only on those that need no help.
	"mips64le": {emulator: []string{"qemu-mips64el-static", "-cpu", "Loongson-3A4000"}},
	"mips64":   {emulator: []string{"qemu-mips64-static", "-cpu", "Loongson-3A4000"}, bigEndian: true},
}

// TestCross runs the programs of make cross under emulation: each joins a founder of this
// machine's architecture. An emulator of programs has no TUN and no nftables.
func TestCross(t *testing.T) {
	folder := os.Getenv("WIRESPAN_CROSS")
	if folder == "" {
		t.Skip("runs by make cross-test")
	}
	requireTools(t)
	sweep(t)
	binary := buildBinary(t)
	for _, target := range strings.Fields(os.Getenv("WIRESPAN_CROSS_ARCHS")) {
		t.Run(target, func(t *testing.T) {
			crossJoins(newLab(t, binary), filepath.Join(folder, "wirespan-linux-"+target), target)
		})
	}
}

// crossJoins checks that a node for a target joins, and that TCP passes both ways.
func crossJoins(l *lab, binary, target string) {
	with, known := crossTargets[target]
	if !known {
		l.Fatal("no emulator is known for this target")
	}
	a, c := l.host("a").node(""), l.host("c").node("")
	c.binary, c.as = binary, with.emulator
	c.configure(settings("backend: netstack", fmt.Sprintf(`meshForwards: ["%d:127.0.0.1:%[1]d"]`, echoPort)))
	for _, command := range [][]string{{"version"}, {"validate", c.path("config.yaml")}} {
		if out, err := c.exec(slices.Concat(with.emulator, []string{binary}, command)...); err != nil {
			l.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	c.join(a.found())
	l.allUp(c, a)
	if with.bigEndian { // the emulator does not swap the bytes of a burst's segment size
		a.mustExec("ethtool", "-K", "eth0", "tx-udp-segmentation", "off")
	}
	web := a.web()
	if body, err := fetch(c.through, web.address); err != nil || sha256.Sum256(body) != web.sum {
		l.Errorf("download: %d bytes, %v", len(body), err)
	}
	c.repeats()
	a.sends(c.mustStatus().Node.Address, echoBytes)
}
