package static

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

const (
	// lookInterval is how often the file is looked at.
	lookInterval = 10 * time.Second
	// settleTime is for how long the file must not have been written before it is read again.
	settleTime = 2 * time.Second
)

// Config of a [Registry]. All of it is required.
type Config struct {
	Path    string
	MaxSize int // of the file, in bytes
	// Parse reads the file. Its result is sorted by node id.
	Parse func(path string, data []byte) ([]mesh.Affiliate, error)
	Self  string // this node's id: what the file says of it is not used
}

// Registry is the registry of one file. Use [New].
type Registry struct {
	cfg     Config
	changed mesh.Signal

	seen stamp // of the file that was read last; of look alone

	mu   sync.Mutex // guards snap
	snap discovery.Snapshot
}

// stamp changes when a file is written or replaced.
type stamp struct {
	inode    uint64
	size     int64
	modified time.Time
	missing  bool // or it can't be looked at
}

// New reads the file. If that fails, the snapshot tells.
func New(c Config) *Registry {
	r := &Registry{cfg: c, changed: mesh.NewSignal(), snap: discovery.Snapshot{Server: c.Path, Published: true}}
	r.look(time.Now())
	return r
}

// Run looks at the file until ctx is done.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if r.look(now) {
				r.changed.Notify()
			}
		}
	}
}

// look reads the file if it has changed, and reports whether the snapshot has. A file that
// was written a moment ago is left for the next look, since its writer may be at it still. One
// that could not be read is read again each time: no stamp shows what stood in the way.
func (r *Registry) look(now time.Time) bool {
	at := stampOf(r.cfg.Path) // before reading, so that the next look notices a write in between
	if age := now.Sub(at.modified); at == r.seen || r.Snapshot().Connected && age >= 0 && age < settleTime {
		return false
	}
	r.seen = at
	var peers []mesh.Affiliate
	data, err := Read(r.cfg.Path, r.cfg.MaxSize)
	if err == nil {
		peers, err = r.parse(data)
	} else {
		r.seen = stamp{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		return r.fail(err, now)
	}
	r.take(peers, now)
	return true
}

// fail notes why the file can't be used, and reports whether that is new.
func (r *Registry) fail(err error, now time.Time) bool {
	err = fmt.Errorf("peers file: %w", err)
	if len(r.snap.Problems) > 0 && r.snap.Problems[0].Reason == err.Error() {
		return false
	}
	r.snap.Problems = []discovery.Problem{{Reason: err.Error()}}
	if !r.snap.Connected {
		r.snap.LastError = err
		if r.snap.Since.IsZero() {
			r.snap.Since = now
		}
	}
	return true
}

// take makes these the peers. One that is as it was has been so since then.
func (r *Registry) take(peers []mesh.Affiliate, now time.Time) {
	heard := make([]discovery.Heard, len(peers))
	for i := range peers {
		heard[i].Since = now
		for k := range r.snap.Affiliates {
			if same(&r.snap.Affiliates[k], &peers[i]) {
				heard[i].Since = r.snap.Heard[k].Since
			}
		}
	}
	if !r.snap.Connected {
		r.snap.Since = now
	}
	r.snap.Affiliates, r.snap.Heard, r.snap.Problems = peers, heard, nil
	r.snap.Connected, r.snap.LastError = true, nil
}

func same(a, b *mesh.Affiliate) bool {
	return a.NodeID == b.NodeID && a.Nodename == b.Nodename && a.PublicKey == b.PublicKey && a.Address == b.Address &&
		slices.Equal(a.Endpoints, b.Endpoints) && slices.Equal(a.AdditionalAddresses, b.AdditionalAddresses)
}

// parse returns the peers of the file without this node.
func (r *Registry) parse(data []byte) ([]mesh.Affiliate, error) {
	peers, err := r.cfg.Parse(r.cfg.Path, data)
	if err != nil {
		return nil, err
	}
	for i := range peers {
		if peers[i].NodeID == r.cfg.Self {
			return append(peers[:i:i], peers[i+1:]...), nil
		}
	}
	return peers, nil
}

// Read returns the content of a file, up to one byte more than the limit. It refuses what
// others may write.
func Read(path string, limit int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	if !mode.IsRegular() {
		return nil, fmt.Errorf("%s: not a file", path)
	}
	if mode.Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s: writable by others (mode %04o): check what it holds, then chmod 644 it", path, mode.Perm())
	}
	return io.ReadAll(io.LimitReader(f, int64(limit)+1))
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{missing: true}
	}
	s := stamp{size: info.Size(), modified: info.ModTime()}
	if st, known := info.Sys().(*syscall.Stat_t); known {
		s.inode = st.Ino
	}
	return s
}

// Changed receives after a change of the snapshot.
func (r *Registry) Changed() <-chan struct{} { return r.changed }

// Snapshot returns the peers of the last good file. It is connected as soon as there was one.
func (r *Registry) Snapshot() discovery.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snap
}

// Publish does nothing: nobody else reads the file.
func (r *Registry) Publish(discovery.Local) {}

// Moved does nothing.
func (r *Registry) Moved() {}

// Delete does nothing: this node is not in its own file.
func (r *Registry) Delete(context.Context, mesh.Affiliate) error { return nil }
