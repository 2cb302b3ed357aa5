package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh/config"
)

// Dir is a directory of small files. The directory has mode 0700 and its files 0600.
// Every write is atomic and synced.
//
// With [config.StateMemory] the files are in memory and end with the process.
type Dir struct {
	dir  string
	log  hclog.Logger
	lock *os.File

	mem *sync.Map // content by name; nil: on disk
}

// maxStateFile is larger than any state file can grow: discovery can make a node
// store some megabytes of pins or networks at most.
const maxStateFile = 16 << 20

// Open opens the directory and creates it if it does not exist. It takes no lock.
func Open(dir string, log hclog.Logger) (*Dir, error) {
	return open(dir, log, os.Geteuid())
}

// open is Open for a directory that one of these users must own.
func open(dir string, log hclog.Logger, owners ...int) (*Dir, error) {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	if dir == config.StateMemory {
		return &Dir{dir: dir, log: log, mem: new(sync.Map)}, nil
	}
	if err := makeDir(dir); err != nil {
		return nil, fmt.Errorf("state directory %q: %w (give a writable one with --state-dir, or --state-dir memory)", dir, bare(err))
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory %q: %w", dir, bare(err))
	}
	if err := checkOwner(info, owners); err != nil {
		return nil, fmt.Errorf("state directory %q %w", dir, err)
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return nil, fmt.Errorf("state directory %q is writable by others (mode %04o): chmod 700 it", dir, info.Mode().Perm())
	}
	return &Dir{dir: dir, log: log}, nil
}

// makeDir makes a directory and its parents, so that they are there after a power failure.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700) // fails if it is none
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_ = syncDir(parent) // it may be of another user, and not readable
	return nil
}

// checkOwner refuses a directory of another user, root's included: its owner can replace
// every file in it, and so this node's keys.
func checkOwner(info fs.FileInfo, owners []int) error {
	st, known := info.Sys().(*syscall.Stat_t)
	if !known || slices.Contains(owners, int(st.Uid)) {
		return nil
	}
	uid := owners[0]
	return fmt.Errorf("belongs to uid %d, but this process runs as uid %d: run it as that user, give another one with --state-dir, or chown -R %d it if you trust what it holds", st.Uid, uid, uid)
}

// Close releases the lock.
func (s *Dir) Close() error {
	if s.lock == nil {
		return nil
	}
	lock := s.lock
	s.lock = nil
	return lock.Close()
}

// Root returns the directory's path, or "memory".
func (s *Dir) Root() string { return s.dir }

// Ephemeral reports whether the state is lost at the next boot, because it is in
// memory or on a memory file system.
func (s *Dir) Ephemeral() bool {
	if s.mem != nil {
		return true
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return false
	}
	kind := uint32(st.Type) // its size differs between architectures
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}

// Path returns the path of a file, for messages.
func (s *Dir) Path(name string) string { return filepath.Join(s.dir, name) }

// Read returns the content of a file, or [fs.ErrNotExist]. It refuses a file that
// others may write, and logs a warning about one that others may read.
func (s *Dir) Read(name string) ([]byte, error) { return s.ReadAtMost(name, maxStateFile) }

// ReadAtMost is Read for a file that is not used if it has more than so many bytes.
func (s *Dir) ReadAtMost(name string, limit int64) ([]byte, error) {
	if s.mem != nil {
		if b, ok := s.mem.Load(name); ok {
			return b.([]byte), nil
		}
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	path := s.Path(name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading state file %q: %w", path, bare(err))
	}
	mode := info.Mode().Perm()
	if mode&0o022 != 0 {
		return nil, fmt.Errorf("state file %q is writable by others (mode %04o): check what it holds, then chmod 600 it", path, mode)
	}
	// A group is how a user reads what root has mounted for it, a Secret of Kubernetes say.
	if st, known := info.Sys().(*syscall.Stat_t); mode&0o004 != 0 || mode&0o040 != 0 && known && int(st.Uid) == os.Geteuid() {
		s.log.Warn("state file is readable by others: chmod 600 it", "file", path, "mode", fmt.Sprintf("%04o", mode))
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("state file %q: %d bytes, too large for a state file", path, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading state file %q: %w", path, bare(err))
	}
	return b, nil
}

// Create writes a new file. It never overwrites one: then it returns [fs.ErrExist].
func (s *Dir) Create(name string, data []byte) error {
	if s.mem != nil {
		if _, taken := s.mem.LoadOrStore(name, data); taken {
			return fmt.Errorf("writing state file %q: %w", s.Path(name), fs.ErrExist)
		}
		return nil
	}
	return s.write(name, data, func(tmp, path string) error {
		defer os.Remove(tmp)
		return os.Link(tmp, path) // unlike rename(2), link(2) fails if the name is taken
	})
}

// Replace writes a file and atomically replaces an older one.
func (s *Dir) Replace(name string, data []byte) error {
	if s.mem != nil {
		s.mem.Store(name, data)
		return nil
	}
	return s.write(name, data, os.Rename)
}

// Remove deletes a file. It succeeds if there is none.
func (s *Dir) Remove(name string) error {
	if s.mem != nil {
		s.mem.Delete(name)
		return nil
	}
	if err := os.Remove(s.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing state file %q: %w", s.Path(name), bare(err))
	}
	return syncDir(s.dir)
}

// SetAside renames a damaged file to NAME.damaged, in place of an older one, so that the
// user can look at it and the agent can write a new one.
func (s *Dir) SetAside(name string) error {
	if s.mem != nil {
		if data, ok := s.mem.Load(name); ok {
			s.mem.Store(name+damagedSuffix, data)
			s.mem.Delete(name)
		}
		return nil
	}
	if err := os.Rename(s.Path(name), s.Path(name+damagedSuffix)); err != nil {
		return fmt.Errorf("setting aside damaged state file %q: %w", s.Path(name), bare(err))
	}
	return syncDir(s.dir)
}

const damagedSuffix = ".damaged"

func (s *Dir) write(name string, data []byte, place func(tmp, path string) error) error {
	path := s.Path(name)
	tmp := path + "." + rand.Text()[:8] + tmpSuffix
	err := writeSynced(tmp, data)
	if err == nil {
		err = place(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("writing state file %q: %w", path, bare(err))
	}
	return syncDir(s.dir)
}

const tmpSuffix = ".tmp"

// sweep removes temporary files, which no process writes any more.
func (s *Dir) sweep() {
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), tmpSuffix) {
			_ = os.Remove(s.Path(e.Name())) // the next start tries again
		}
	}
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// bare removes the operation and the path from an error: the caller adds both.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}
