package unixsocket

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListen(t *testing.T) {
	// The umask has no effect on the mode of the socket.
	for _, umask := range []int{0, 0o077} {
		path := filepath.Join(t.TempDir(), "a", "b", "s")
		before := unix.Umask(umask)
		l, err := Listen(path)
		unix.Umask(before)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{
			path:               fs.ModeSocket | socketMode,
			filepath.Dir(path): fs.ModeDir | directoryMode&^fs.FileMode(umask),
		} {
			if info, err := os.Lstat(name); err != nil || info.Mode() != want {
				t.Errorf("umask %#o: %s has mode %v, want %v; %v", umask, filepath.Base(name), info.Mode(), want, err)
			}
		}
		if c, err := net.Dial("unix", path); err != nil {
			t.Error(err)
		} else {
			_ = c.Close()
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the file after Close: %v", err)
		}
	}
}

func TestListenWhereAProgramAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if second, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("a second listener: %v, %v", second, err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the first one no longer answers: %v", err)
	}
	_ = c.Close()
}

func TestListenReplacesAStaleSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for range 2 {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false) // as after a kill
		_ = l.Close()
		if _, err := os.Lstat(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListenKeepsWhatIsNoSocket(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	live, err := Listen(filepath.Join(dir, "live"))
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	for link, target := range map[string]string{"to-file": "file", "to-socket": "live", "to-nothing": "absent"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "directory", "to-file", "to-socket", "to-nothing"} {
		path := filepath.Join(dir, name)
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path); !errors.Is(err, ErrNotSocket) {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s was replaced: %v", name, err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("the file is now %q, %v", got, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dangling link was followed: %v", err)
	}
}

// A datagram socket can neither be dialled as a stream nor replaced.
func TestListenKeepsADatagramSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := Listen(path); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("Listen = %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

func TestErrorsAreBare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"/proc/no-such-directory/s":                         unix.ENOENT,
		filepath.Join(file, "s"):                            unix.ENOTDIR,
		filepath.Join(t.TempDir(), strings.Repeat("x", 99)): unix.EINVAL,
	} {
		if _, err := Listen(path); err == nil || err.Error() != want.Error() {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}
