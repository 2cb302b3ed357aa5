package e2e

import (
	"errors"
	"os"
	"strings"
	"time"
)

// powerCuts is how often the power is cut.
const powerCuts = 20

// restarts is what a box runs at boot in edgePowerCut: agents that start, write their state,
// and are ended. It tells the lab by the console when they do.
const restarts = `while :; do
	echo restarting >/dev/console
	wirespan up --state-dir /state/wirespan >>/tmp/log 2>&1 & pid=$!
	wirespan wait founder --timeout 2s >/dev/null 2>&1
	kill $pid && wait $pid || { tail -n 5 /tmp/log; echo the agent has failed; } >/dev/console
done
`

// edgePowerCut cuts the power while agents write their state, and checks that the box is who
// it was, and that every file is whole.
func edgePowerCut(l *edgeLab, m edgeMachine) {
	b := l.box(m)
	b.boot()
	b.joins()
	const digest = "cd /state/wirespan && sha256sum *identity.yaml cluster.yaml node-key.yaml"
	identity := b.runs(digest)
	b.stops()
	b.cut()
	b.put("boot", restarts)
	for cut := range powerCuts {
		before := b.proc.count("restarting")
		b.power()
		eventually(b.T, bootTimeout, func() error {
			if b.proc.count("restarting") <= before+cut%2 {
				return errors.Join(errors.New("no agent restarts"), b.proc.running())
			}
			return nil
		})
		b.writes(1 + cut/2)
		b.cut()
	}
	if n := b.proc.count("the agent has failed"); n > 0 {
		b.Errorf("%d agents failed", n)
	}
	b.put("boot", "")
	b.boot()
	if again := b.runs(digest); again != identity {
		b.Errorf("before the power was cut\n%safter\n%s", identity, again)
	}
	b.runs("! find /state/wirespan -type f -size 0 ! -name lock ! -name '*.tmp' | grep .")
	b.up()
	b.meets()
	b.carries()
	if left, _ := b.script("ls /state/wirespan | grep tmp"); left != "" {
		b.Errorf("files that were being written stay for ever:\n%s", left)
	}
	if out := b.runs("cat /tmp/log"); strings.Contains(out, "[ERROR]") || strings.Contains(out, "[WARN]") {
		b.Errorf("the agent complains after power cuts: %s", out)
	}
}

// writes waits until the box has written to its disk so many times. It may miss writes that
// follow one another at once.
func (b *edgeBox) writes(times int) {
	b.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	limit := time.After(time.Minute)
	var last time.Time
	for times >= 0 {
		info, err := os.Stat(b.disk)
		if err != nil {
			b.Fatal(err)
		}
		if !info.ModTime().Equal(last) {
			last = info.ModTime()
			times--
		}
		select {
		case <-poll.C:
		case <-limit:
			b.Fatalf("the box does not write: %d to go", times)
		}
	}
}

// edgeFlashFull checks that a box whose flash is full does not join, says why, and leaves
// nothing torn; and that a box with an identity goes on.
func edgeFlashFull(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot()
	const fill = "dd if=/dev/zero of=/state/full bs=64k 2>/dev/null; dd if=/dev/zero of=/state/fuller bs=1k 2>/dev/null; df /state"
	b.runs(fill)
	b.refuses("no space left", "--join @/state/token")
	b.runs("rm /state/full /state/fuller")
	b.joins()
	b.carries()
	b.stops()
	b.Log(b.runs(fill))
	b.up()
	b.meets()
	b.carries()
}

// edgeFlashReadOnly checks that a box whose flash can only be read runs, if its identity is
// whole.
func edgeFlashReadOnly(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot()
	b.joins()
	address := b.meshAddress()
	b.stops()
	b.runs("sync")
	b.cut()
	b.boot("STATE=ro")
	b.up()
	b.meets()
	b.carries()
	if again := b.meshAddress(); again != address {
		b.Errorf("the address was %s and is %s", address, again)
	}
}

// edgeRunReadOnly checks that a box runs whose /run can only be read.
func edgeRunReadOnly(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot()
	b.runs("mount -o remount,ro /run")
	b.up("--join @/state/token")
	eventually(b.T, 90*time.Second, b.joined)
	b.founder.reaches(b.meshAddress())
}

// edgeStateInMemory checks that a box neither founds nor joins a mesh in a state directory that
// is gone after a reboot, names the two ways out, and takes one of them.
func edgeStateInMemory(l *edgeLab, m edgeMachine) {
	b := l.box(m).boot()
	for _, way := range []string{"on disk or flash with --state-dir", "--state-dir memory:/tmp/wirespan"} {
		b.refusesAt("/tmp/wirespan", way)
		b.refusesAt("/tmp/wirespan", way, "--join @/state/token")
	}
	b.runs("[ ! -e /tmp/wirespan/cluster.yaml ]")
	if !l.isFull(m) {
		b.refusesAt("memory", "edge build") // it would be the founder
	}
	b.joins("--state-dir memory:/tmp/wirespan")
	b.carries()
}
