package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/config"
)

func openState(t *testing.T, dir string) *Dir {
	t.Helper()
	st, err := Open(dir, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// states returns an empty state directory on disk and one in memory.
func states(t *testing.T) map[string]*Dir {
	return map[string]*Dir{"disk": openState(t, t.TempDir()), "memory": openState(t, config.StateMemory)}
}

func TestStateFiles(t *testing.T) {
	for name, st := range states(t) {
		t.Run(name, func(t *testing.T) {
			if _, err := st.Read("a"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Read of nothing = %v", err)
			}
			if err := st.Create("a", []byte("one")); err != nil {
				t.Fatal(err)
			}
			if err := st.Create("a", []byte("two")); !errors.Is(err, fs.ErrExist) {
				t.Errorf("Create over a file = %v", err)
			}
			if got, err := st.Read("a"); err != nil || string(got) != "one" {
				t.Errorf("Read = %q, %v", got, err)
			}
			if err := st.Replace("a", []byte("three")); err != nil {
				t.Fatal(err)
			}
			if got, err := st.Read("a"); err != nil || string(got) != "three" {
				t.Errorf("Read = %q, %v", got, err)
			}
			for range 2 { // the second time there is no file
				if err := st.Remove("a"); err != nil {
					t.Errorf("Remove = %v", err)
				}
			}
			if _, err := st.Read("a"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Read of a removed file = %v", err)
			}
		})
	}
}

// If several goroutines create a file at once, one succeeds, and no temporary file remains.
func TestStateCreateIsExclusive(t *testing.T) {
	st := openState(t, filepath.Join(t.TempDir(), "a", "state"))
	var wins sync.Map
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			data := strings.Repeat(string(rune('a'+i)), 4096)
			if err := st.Create("f", []byte(data)); err == nil {
				wins.Store(data, true)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	wins.Range(func(data, _ any) bool {
		n++
		if got, err := st.Read("f"); err != nil || string(got) != data {
			t.Errorf("the file is not the winner's: %v", err)
		}
		return true
	})
	files, err := os.ReadDir(st.Root())
	if n != 1 || err != nil || len(files) != 1 {
		t.Errorf("%d winners, files %v, %v", n, files, err)
	}
	for path, want := range map[string]fs.FileMode{st.Root(): 0o700, st.Path("f"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestStateDirectoryErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shared := filepath.Join(dir, "shared")
	if err := os.Mkdir(shared, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shared, 0o770); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                          "not a directory (give a writable one with --state-dir",
		filepath.Join(file, "below"):  "not a directory (give a writable one with --state-dir",
		shared:                        "is writable by others (mode 0770): chmod 700 it",
		"/proc/wirespan-test-nowhere": "(give a writable one with --state-dir",
	} {
		if _, err := Open(path, hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q) = %v, want %q", path, err, want)
		}
	}
}

func TestStateFilePermissions(t *testing.T) {
	var log bytes.Buffer
	st, err := Open(t.TempDir(), hclog.New(&hclog.LoggerOptions{Output: &log}))
	if err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[fs.FileMode]struct{ err, log string }{
		0o600: {},
		0o400: {},
		0o640: {log: "readable by others"},
		0o604: {log: "readable by others"},
		0o620: {err: "writable by others (mode 0620)"},
		0o602: {err: "writable by others (mode 0602)"},
		0o666: {err: "writable by others (mode 0666)"},
	} {
		name := mode.String()
		if err := st.Create(name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(st.Path(name), mode); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		_, err := st.Read(name)
		if (err != nil) != (want.err != "") || err != nil && !strings.Contains(err.Error(), want.err) {
			t.Errorf("%04o: %v, want %q", mode, err, want.err)
		}
		if got := log.String(); (got != "") != (want.log != "") || !strings.Contains(got, want.log) {
			t.Errorf("%04o: logged %q, want %q", mode, got, want.log)
		}
	}
	if os.Geteuid() == 0 { // what another user has mounted for a group of this one
		name := fs.FileMode(0o640).String()
		if err := os.Chown(st.Path(name), 1, -1); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		if _, err := st.Read(name); err != nil || log.Len() > 0 {
			t.Errorf("another's file, for a group: %v, logged %q", err, log.String())
		}
	}
	if err := os.Truncate(st.Path(fs.FileMode(0o600).String()), maxStateFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Read(fs.FileMode(0o600).String()); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a file that is too large: %v", err)
	}
}

func TestStateLock(t *testing.T) {
	dir := t.TempDir()
	first, second := openState(t, dir), openState(t, dir)
	if err := first.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := second.Lock(); err == nil || !strings.Contains(err.Error(), "another agent is using it") {
		t.Errorf("second Lock = %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := second.Lock(); err != nil {
		t.Errorf("Lock after Close = %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	memory := openState(t, config.StateMemory)
	if err := errors.Join(memory.Lock(), memory.Lock(), memory.Close()); err != nil || !memory.Ephemeral() {
		t.Errorf("memory: %v, ephemeral %v", err, memory.Ephemeral())
	}
}

func TestEphemeral(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "wirespan-test-")
	if err != nil {
		t.Fatal("needs a memory file system:", err)
	}
	defer os.RemoveAll(dir)
	if !openState(t, dir).Ephemeral() {
		t.Error("a directory in /dev/shm is not ephemeral")
	}
	if (&Dir{dir: "/proc"}).Ephemeral() {
		t.Error("/proc counts as a memory file system")
	}
}

func TestLoadKeys(t *testing.T) {
	for name, st := range states(t) {
		t.Run(name, func(t *testing.T) {
			first, err := LoadKeys(st, "", hclog.NewNullLogger())
			if err != nil {
				t.Fatal(err)
			}
			again, err := LoadKeys(st, "", hclog.NewNullLogger())
			if err != nil || again != first {
				t.Errorf("loading again gives other keys: %v", err)
			}
			if _, err := mesh.DecodeNodeID(first.NodeID); err != nil || first.PrivateKey.IsZero() {
				t.Errorf("keys = %v, %v", first, err)
			}
		})
	}
}

// A damaged or incomplete identity file is reported and not changed.
func TestDamagedIdentityIsKept(t *testing.T) {
	good := openState(t, t.TempDir())
	if _, err := LoadKeys(good, "", hclog.NewNullLogger()); err != nil {
		t.Fatal(err)
	}
	key, err := good.Read(mesh.KubeSpanIdentityFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ file, content, want string }{
		"empty key":        {mesh.KubeSpanIdentityFile, "", `error caching kubespan identity: `},
		"cut key":          {mesh.KubeSpanIdentityFile, string(key[:len(key)/2]), `error caching kubespan identity: `},
		"not YAML":         {mesh.KubeSpanIdentityFile, "{[", `error unmarshaling "kubespan-identity.yaml"`},
		"binary":           {mesh.NodeIdentityFile, "\x00\x01", `error unmarshaling "node-identity.yaml"`},
		"empty node id":    {mesh.NodeIdentityFile, "nodeId: \"\"\n", `is still zero after unmarshaling`},
		"damaged node key": {mesh.NodeKeyFile, "privateKey: AAAA\n", `error caching node identity: `},
		"bad node id":      {mesh.NodeIdentityFile, "nodeId: a b\n", `error caching node identity: `},
	} {
		t.Run(name, func(t *testing.T) {
			st := openState(t, t.TempDir())
			if err := st.Create(test.file, []byte(test.content)); err != nil {
				t.Fatal(err)
			}
			_, err := LoadKeys(st, "", hclog.NewNullLogger())
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "restore it from a backup") {
				t.Errorf("LoadKeys = %v, want %q", err, test.want)
			}
			if got, err := os.ReadFile(st.Path(test.file)); err != nil || string(got) != test.content {
				t.Errorf("the file is now %q, %v", got, err)
			}
		})
	}
}

// An identity directory that holds all files is only read.
func TestIdentityDirectory(t *testing.T) {
	st, dir := openState(t, config.StateMemory), t.TempDir()
	want, err := LoadKeys(openState(t, dir), "", hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := LoadKeys(st, dir, hclog.NewNullLogger())
	if err != nil || got != want {
		t.Errorf("LoadKeys = %v, %v", got, err)
	}
	if after, err := os.Stat(dir); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the directory was written to: %v", err)
	}
	if _, err := st.Read(mesh.NodeIdentityFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state directory holds keys, too: %v", err)
	}
	if _, err := LoadKeys(st, "/proc", hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), `writing state file "/proc/node-key.yaml"`) {
		t.Errorf("LoadKeys from an empty read-only directory = %v", err)
	}
}

// A node id in Talos' form can't sign, and an id never goes with the key of another.
func TestNodeKeys(t *testing.T) {
	talos := openState(t, t.TempDir())
	id := mesh.NodeIDFromBytes([32]byte{1})
	if err := talos.Create(mesh.NodeIdentityFile, mesh.EncodeNodeIdentity(id)); err != nil {
		t.Fatal(err)
	}
	if keys, err := LoadKeys(talos, "", hclog.NewNullLogger()); err != nil || keys.NodeID != id || !keys.NodeKey.IsZero() {
		t.Errorf("an id in Talos' form: %v, %v", keys, err)
	}
	if err := talos.Create(mesh.NodeKeyFile, mesh.EncodeNodeKey(mesh.NewNodeKey([32]byte{2}))); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeys(talos, "", hclog.NewNullLogger()); err == nil || !strings.Contains(err.Error(), "is not the id of the key") {
		t.Errorf("another node's key: %v", err)
	}
	own := openState(t, t.TempDir())
	first, err := LoadKeys(own, "", hclog.NewNullLogger())
	if err != nil || first.NodeID != first.NodeKey.NodeID() || first.Ephemeral {
		t.Fatalf("new keys: %v, %v", first, err)
	}
	if err := own.Remove(mesh.NodeIdentityFile); err != nil { // as after a crash between the two writes
		t.Fatal(err)
	}
	if again, err := LoadKeys(own, "", hclog.NewNullLogger()); err != nil || again != first {
		t.Errorf("with the key alone: %v, %v", again, err)
	}
	if keys, err := LoadKeys(openState(t, config.StateMemory), "", hclog.NewNullLogger()); err != nil || !keys.Ephemeral {
		t.Errorf("keys in memory: %v, %v", keys, err)
	}
}

// Sequences only grow: over restarts, with a clock that goes back, and after a record that
// others have seen.
func TestSequence(t *testing.T) {
	st := openState(t, t.TempDir())
	now := time.UnixMilli(1e12)
	last := uint64(0)
	next := func(s *Sequence, now time.Time, seen uint64) uint64 {
		t.Helper()
		n, err := s.Next(now, seen), s.Keep()
		if err != nil || n <= last || n <= seen {
			t.Errorf("sequence %d after %d, seen %d, error %v", n, last, seen, err)
		}
		last = n
		return n
	}
	s := must(OpenSequence(st))
	if n := next(s, now, 0); n != 1e12 {
		t.Errorf("first sequence %d", n)
	}
	before := must(st.Read(SequenceFile))
	for range 1000 {
		next(s, now, 0)
	}
	if !bytes.Equal(before, must(st.Read(SequenceFile))) {
		t.Error("each sequence is written to disk")
	}
	s = must(OpenSequence(st))
	next(s, time.UnixMilli(1e11), 0)
	next(s, time.UnixMilli(1e11), 2e12)
	if err := st.Replace(SequenceFile, []byte("{")); err != nil {
		t.Fatal(err)
	}
	if n := must(OpenSequence(st)).Next(now, 7e12); n != 7e12+1 {
		t.Errorf("with a damaged file: %d", n)
	}
}

func TestIdentityFollowsCluster(t *testing.T) {
	keys, err := LoadKeys(openState(t, config.StateMemory), "", hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	mac := []byte{2, 0, 0x5e, 0x10, 0, 1}
	one, err := keys.Identity("one", mac)
	if err != nil || one.Address != must(mesh.NodeAddress(mesh.ULA("one"), mac)) || one.PublicKey != keys.PrivateKey.Public() {
		t.Errorf("Identity = %+v, %v", one, err)
	}
	if two, err := keys.Identity("two", mac); err != nil || two.Subnet == one.Subnet || two.NodeID != one.NodeID {
		t.Errorf("Identity in another cluster = %+v, %v", two, err)
	}
	if derived, err := keys.Identity("one", nil); err != nil || derived.Subnet != one.Subnet || derived.Address == one.Address {
		t.Errorf("Identity without a MAC = %+v, %v", derived, err)
	}
	if _, err := keys.Identity("one", mac[:3]); err == nil || !strings.HasPrefix(err.Error(), "error updating KubeSpan address: ") {
		t.Errorf("Identity with 3 bytes of MAC: %v", err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// A directory of another user is refused, since its owner can replace the keys in it. An
// identity directory may be root's.
func TestDirectoryOfAnotherUser(t *testing.T) {
	info := must(os.Stat(t.TempDir()))
	uid := os.Geteuid()
	if err := checkOwner(info, []int{uid}); err != nil {
		t.Error(err)
	}
	if err := checkOwner(info, []int{uid + 1, uid}); err != nil {
		t.Error(err)
	}
	want := fmt.Sprintf("belongs to uid %d, but this process runs as uid %d: run it as that user, give another one with --state-dir, or chown -R %d it", uid, uid+1, uid+1)
	if err := checkOwner(info, []int{uid + 1}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
	if uid == 0 { // as root, also in full
		dir := t.TempDir()
		if err := os.Chown(dir, 65534, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "belongs to uid 65534") {
			t.Errorf("Open = %v", err)
		}
	}
}
