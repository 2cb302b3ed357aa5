package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

type object = map[string]any

// fakeAPI is the part of a Kubernetes API server that a client sees: Nodes with versions,
// lists in pages, streamed lists, watches that resume, bookmarks, compaction, conflicts.
type fakeAPI struct {
	mu        sync.Mutex
	nodes     map[string]object
	version   int
	compacted int
	history   []change
	watchers  map[chan change]bool
	noStreams bool                                               // lists are not streamed
	refuse    func(verb string, w http.ResponseWriter) (is bool) // nil: nothing
	requests  []string
	patches   []string

	listener *pipeListener
	server   *http.Server
	serving  sync.WaitGroup
	sent     int // bytes of bodies
}

type change struct {
	version int
	kind    string
	node    object
}

// pipeListener listens in memory, so that a synctest bubble can wait for its connections.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "api", Net: "unix"} }

func (f *fakeAPI) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f.mu.Lock()
	l := f.listener
	f.mu.Unlock()
	client, server := net.Pipe()
	select {
	case <-l.closed:
	case l.conns <- server:
		return client, nil
	case <-ctx.Done():
	}
	return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

func newFakeAPI(t testing.TB) *fakeAPI {
	f := &fakeAPI{nodes: map[string]object{}, version: 100, watchers: map[chan change]bool{}}
	f.start()
	t.Cleanup(f.stop)
	return f
}

// start and stop are those of the process; the database stays.
func (f *fakeAPI) start() {
	l := newPipeListener()
	server := &http.Server{Handler: f}
	f.mu.Lock()
	f.listener, f.server = l, server
	f.mu.Unlock()
	f.serving.Go(func() { _ = server.Serve(l) })
}

func (f *fakeAPI) stop() {
	_ = f.server.Close()
	f.serving.Wait()
}

// set writes a Node as others do.
func (f *fakeAPI) set(name string, annotations map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	meta := object{"name": name, "labels": object{}}
	n := object{
		"kind": "Node", "apiVersion": "v1", "metadata": meta,
		"spec":   object{"podCIDR": "10.244.1.0/24", "podCIDRs": []string{"10.244.1.0/24", "fd00:244:1::/64"}},
		"status": object{"addresses": []object{{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "Hostname", "address": name + ".example.org"}}, "nodeInfo": object{"osImage": "Talos (v1.14.0)"}, "images": strings.Repeat("x", 4000)},
	}
	kind := "ADDED"
	if old := f.nodes[name]; old != nil {
		kind = "MODIFIED"
	}
	all := object{"example.org/other": "1"}
	for k, v := range annotations {
		all[k] = v
	}
	meta["annotations"] = all
	f.store(kind, n)
}

func (f *fakeAPI) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name]
	f.store("DELETED", n)
	delete(f.nodes, name)
}

// store writes a Node; f.mu is held.
func (f *fakeAPI) store(kind string, n object) {
	f.version++
	copied, meta := maps.Clone(n), maps.Clone(n["metadata"].(object))
	copied["metadata"] = meta
	meta["resourceVersion"] = strconv.Itoa(f.version)
	f.nodes[meta["name"].(string)] = copied
	e := change{f.version, kind, copied}
	f.history = append(f.history, e)
	for w := range f.watchers {
		w <- e
	}
}

func clone(n object) object {
	b, _ := json.Marshal(n)
	var out object
	_ = json.Unmarshal(b, &out)
	return out
}

// compact forgets what happened before now, and ends all watches.
func (f *fakeAPI) compact() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compacted, f.history = f.version, nil
	f.endWatches()
}

func (f *fakeAPI) endWatches() {
	for w := range f.watchers {
		close(w)
		delete(f.watchers, w)
	}
}

func (f *fakeAPI) annotations(name string) map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	if n := f.nodes[name]; n != nil {
		for k, v := range n["metadata"].(object)["annotations"].(object) {
			if k != "example.org/other" {
				out[k] = v.(string)
			}
		}
	}
	return out
}

// asked returns the requests since the last call.
func (f *fakeAPI) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.requests
	f.requests = nil
	return out
}

// written returns the patches since the last call.
func (f *fakeAPI) written() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.patches
	f.patches = nil
	return out
}

func (f *fakeAPI) setRefuse(refuse func(verb string, w http.ResponseWriter) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func status(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.Trim(strings.TrimPrefix(r.URL.Path, "/api/v1/nodes"), "/")
	q := r.URL.Query()
	verb := "list"
	switch {
	case q.Get("watch") == "true":
		verb = "watch"
	case r.Method == http.MethodPatch:
		verb = "patch"
	case name != "":
		verb = "get"
	}
	f.mu.Lock()
	f.requests = append(f.requests, verb)
	refuse := f.refuse
	f.mu.Unlock()
	if refuse != nil && refuse(verb, w) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch verb {
	case "list":
		f.list(w, q.Get("limit"), q.Get("continue"))
	case "watch":
		f.watch(w, r)
	case "get":
		f.mu.Lock()
		n := f.nodes[name]
		f.mu.Unlock()
		if n == nil {
			status(w, 404, "NotFound", fmt.Sprintf("nodes %q not found", name))
			return
		}
		f.write(w, n)
	case "patch":
		body, _ := io.ReadAll(r.Body)
		f.patch(w, name, body)
	}
}

func (f *fakeAPI) write(w io.Writer, v any) {
	b, _ := json.Marshal(v)
	n, _ := w.Write(append(b, '\n'))
	f.mu.Lock()
	f.sent += n
	f.mu.Unlock()
}

func (f *fakeAPI) list(w http.ResponseWriter, limit, after string) {
	f.mu.Lock()
	names := slices.Sorted(maps.Keys(f.nodes))
	meta := object{"resourceVersion": strconv.Itoa(f.version)}
	items := []object{}
	n, _ := strconv.Atoi(limit)
	for _, name := range names {
		if name <= after {
			continue
		}
		if n > 0 && len(items) == n {
			meta["continue"] = items[n-1]["metadata"].(object)["name"]
			break
		}
		items = append(items, f.nodes[name])
	}
	f.mu.Unlock()
	f.write(w, object{"kind": "NodeList", "apiVersion": "v1", "metadata": meta, "items": items})
}

func (f *fakeAPI) patch(w http.ResponseWriter, name string, body []byte) {
	var patch struct {
		Metadata struct {
			ResourceVersion string
			Annotations     map[string]*string
		}
	}
	if err := json.Unmarshal(body, &patch); err != nil {
		status(w, 400, "BadRequest", err.Error())
		return
	}
	f.mu.Lock()
	n := f.nodes[name]
	if n == nil {
		f.mu.Unlock()
		status(w, 404, "NotFound", fmt.Sprintf("nodes %q not found", name))
		return
	}
	if patch.Metadata.ResourceVersion != n["metadata"].(object)["resourceVersion"] {
		f.mu.Unlock()
		status(w, 409, "Conflict", "the object has been modified")
		return
	}
	f.patches = append(f.patches, string(body))
	n = clone(n)
	annotations := n["metadata"].(object)["annotations"].(object)
	for k, v := range patch.Metadata.Annotations {
		if v == nil {
			delete(annotations, k)
		} else {
			annotations[k] = *v
		}
	}
	f.store("MODIFIED", n)
	n = f.nodes[name]
	f.mu.Unlock()
	f.write(w, n)
}

func (f *fakeAPI) watch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	streamed := q.Get("sendInitialEvents") == "true"
	since, _ := strconv.Atoi(q.Get("resourceVersion"))
	events := make(chan change, 10000)
	f.mu.Lock()
	if streamed && f.noStreams {
		f.mu.Unlock()
		status(w, 422, "Invalid", "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")
		return
	}
	var first []object
	switch {
	case streamed:
		for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
			first = append(first, object{"type": "ADDED", "object": f.nodes[name]})
		}
		first = append(first, object{"type": "BOOKMARK", "object": object{"kind": "Node", "apiVersion": "v1", "metadata": object{
			"resourceVersion": strconv.Itoa(f.version), "annotations": object{"k8s.io/initial-events-end": "true"},
		}}})
	case since < f.compacted:
		f.mu.Unlock()
		f.write(w, object{"type": "ERROR", "object": object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old resource version"}})
		return
	default:
		for _, e := range f.history {
			if e.version > since {
				first = append(first, object{"type": e.kind, "object": e.node})
			}
		}
	}
	f.watchers[events] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, events)
	}()
	flush := w.(http.Flusher).Flush
	for _, e := range first {
		f.write(w, e)
	}
	flush()
	seconds, _ := strconv.Atoi(q.Get("timeoutSeconds"))
	end := time.After(time.Duration(cmp.Or(seconds, 600)) * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			f.write(w, object{"type": e.kind, "object": e.node})
			flush()
		case <-end:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// kubeconfig writes one for a plaintext server.
func kubeconfig(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	const text = `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: k, user: u}}],
clusters: [{name: k, cluster: {server: "http://api:6443"}}], users: [{name: u, user: {}}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
