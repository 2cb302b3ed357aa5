package e2e

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// exhaust takes memory that can't be swapped until 12 MB are available.
const exhaust = `mkdir /fill; mount -t ramfs fill /fill; n=0
while free=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo); [ $free -gt 12544 ] && [ $n -lt 50 ]; do
	n=$((n + 1))
	dd if=/dev/zero of=/fill/$n bs=4k count=$(((free - 12288) / 8 + 8)) 2>/dev/null
done`

// edgeLowMemory checks that a box of 64 MB answers `wirespan status` with 12 MB available, and
// that no ping is lost meanwhile. The log of the test has the figures: emulation is too slow
// to judge them. Of the full build, which is too large for such a box, there are only those.
func edgeLowMemory(l *edgeLab, m edgeMachine) {
	m.memory = 64
	b := l.box(m).boot()
	b.joins()
	b.carries()
	before, err := b.answers()
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("status takes %.2f s; %s", before.Seconds(), b.memory())
	b.runs(exhaust)
	b.Logf("memory is taken; %s", b.memory())
	pings := b.founder.spawn("pings", "ping", "-n", "-i", "0.2", b.meshAddress().String())
	for range 3 {
		took, err := b.answers()
		if err != nil && l.isFull(m) {
			b.Logf("the full build does not answer: %v", err)
			return
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("status takes %.2f s, %.1f times as long", took.Seconds(), float64(took)/float64(before))
	}
	soFar, _ := answered(pings)
	eventually(b.T, within, func() error {
		if n, _ := answered(pings); n < soFar+10 {
			return errors.New("pings are not answered")
		}
		return nil
	})
	pings.end(b.T, syscall.SIGINT)
	n, lost := answered(pings)
	b.Logf("%d of %d pings were lost; %s", lost, n+lost, b.memory())
	if lost > 0 && !l.isFull(m) {
		b.Error("pings were lost")
	}
}

// answers runs `wirespan status` in the box until it answers, and returns how long that took.
// The clock of an emulated box is not exact enough on a busy machine.
func (b *edgeBox) answers() (time.Duration, error) {
	started := time.Now()
	failures, err := b.script("for i in $(seq 9); do wirespan status >/dev/null && exit; done; exit 1")
	if failures != "" && err == nil {
		b.Logf("not at once: %s", failures)
	}
	return time.Since(started), err
}

// memory returns what is available in the box, and what its agent uses, in kB.
func (b *edgeBox) memory() string {
	b.Helper()
	return b.runs("echo $(grep -h -e ^MemAvailable -e ^VmRSS -e ^RssAnon -e ^RssFile /proc/meminfo /proc/$(cat /tmp/pid)/status)")
}

var reply = regexp.MustCompile(`icmp_seq=(\d+) ttl=`)

// answered returns how many pings were answered, and how many of those before the last
// answered one were not.
func answered(pings *labProcess) (n, lost int) {
	data, _ := os.ReadFile(pings.log)
	seen, last := map[int]bool{}, 0
	for _, m := range reply.FindAllSubmatch(data, -1) {
		seq, _ := strconv.Atoi(string(m[1])) // it is of digits
		seen[seq], last = true, max(last, seq)
	}
	return len(seen), last - len(seen)
}
