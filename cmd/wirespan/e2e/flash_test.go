package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// scenarioFlash checks a node whose state directory is in memory, read-only, and full. A
// node that has its identity runs with it, whatever can't be written, and keeps it.
func scenarioFlash(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("")
	flash := b.flash("1m")
	b.flags[3] = flash
	token := a.found()
	b.refuses("--state-dir memory", "up", "--join", b.keep(token))
	b.flags[3] = "memory:" + flash
	b.join(token)
	l.allUp(a, b)
	identity := b.mustStatus().Node

	b.flags[3] = flash
	same := func() {
		l.Helper()
		l.allUp(a, b)
		a.pings(b)
		b.pings(a)
		if now := b.mustStatus().Node; now.ID != identity.ID || now.PublicKey != identity.PublicKey || now.Address != identity.Address || !now.Ephemeral {
			l.Errorf("the node was %+v and is %+v", identity, now)
		}
	}
	b.restart() // it goes on, although it would not begin
	same()
	b.calm()

	b.proc.end(l.T, syscall.SIGKILL)
	b.remount(flash, unix.MS_RDONLY)
	b.up()
	same()
	b.condition("StateNotWritten", "read-only")
	l.Log(b.mustCLI("status"))

	b.proc.end(l.T, syscall.SIGKILL)
	b.remount(flash, 0)
	b.up()
	same()
	b.calm()
	b.fill(flash)
	b.restart()
	same()
	b.condition("StateNotWritten", "no space left")
	if err := os.Remove(filepath.Join(flash, "filler")); err != nil {
		l.Fatal(err)
	}
	b.calm()
	b.restart()
	same()
	for _, suffix := range []string{".tmp", ".damaged"} {
		if left, _ := filepath.Glob(filepath.Join(flash, "*"+suffix)); len(left) > 0 {
			l.Errorf("left behind: %v", left)
		}
	}
	b.calm(mesh.ConditionNodenameWithheld)
}

// flash mounts an empty file system for the node's state and returns its directory.
func (n *labNode) flash(size string) string {
	n.Helper()
	dir := n.path("flash")
	if err := errors.Join(os.Mkdir(dir, 0o700), unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size)); err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// remount changes whether the file system of flash is read-only.
func (n *labNode) remount(dir string, flags uintptr) {
	n.Helper()
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
		n.Fatal(fmt.Errorf("remounting: %w", err))
	}
}

// fill writes a file until there is no space left.
func (n *labNode) fill(dir string) {
	n.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		n.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		n.Fatal(err)
	}
}
