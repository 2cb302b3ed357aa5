package mesh

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/wirespan/wirespan"

// allowedImports is who may import whom (docs/architecture.md): for each package
// of the module those that its code, tests aside, may import. An arrow that is
// missing here is a decision, not an oversight: nothing but mesh/agent joins
// discovery, device and firewall, and adapters never know the loop.
var allowedImports = map[string]string{
	"mesh":                 "",
	"mesh/config":          "mesh firewall",
	"mesh/state":           "mesh mesh/config firewall",
	"mesh/host":            "mesh firewall/netlink",
	"mesh/resolved":        "",
	"mesh/unixsocket":      "",
	"mesh/proxied":         "",
	"mesh/agent":           "mesh mesh/config mesh/state discovery firewall",
	"mesh/agent/agenttest": "mesh discovery firewall",
	"mesh/agent/contract":  "mesh mesh/agent discovery firewall",
	"mesh/control":         "mesh mesh/agent mesh/control/http1 mesh/unixsocket device/splice firewall",
	"mesh/control/http1":   "",
	"mesh/access":          "mesh mesh/agent mesh/config mesh/resolved device/dns device/forward device/proxy device/splice firewall",
	"mesh/node": "mesh mesh/access mesh/agent mesh/config mesh/control mesh/host mesh/state mesh/unixsocket " +
		"discovery discovery/cache discovery/kubernetes discovery/server discovery/service discovery/static device device/bind device/burst device/netstack device/tun device/nat device/portmap mesh/proxied device/relay device/relay/server device/relay/turn device/stun firewall firewall/nft",
	"mesh/node/nodetest":   "mesh mesh/agent mesh/config mesh/node mesh/state discovery discovery/codec device device/netstack device/offload",
	"mesh/demo":            "mesh mesh/agent mesh/control device/bind device/netstack",
	"discovery":            "mesh",
	"discovery/cache":      "mesh discovery discovery/codec",
	"discovery/codec":      "mesh discovery discovery/wire",
	"discovery/rpc":        "",
	"discovery/wire":       "",
	"discovery/service":    "mesh mesh/proxied discovery discovery/codec discovery/rpc discovery/wire",
	"discovery/server":     "mesh discovery",
	"discovery/static":     "mesh discovery",
	"discovery/kubernetes": "mesh discovery discovery/codec",
	"device":               "mesh mesh/unixsocket device/clamp device/engine device/inflight device/nat device/offload device/path device/relay",
	"device/bind":          "mesh firewall/netlink",
	"device/burst":         "",
	"device/clamp":         "device/offload",
	"device/dns":           "",
	"device/engine":        "mesh device/clamp device/inflight device/path device/stun",
	"device/forward":       "mesh/unixsocket device/splice",
	"device/inflight":      "mesh",
	"device/memory":        "device/memory/text",
	"device/memory/text":   "",
	"device/nat":           "mesh device/stun",
	"device/netstack":      "mesh device/offload",
	"device/offload":       "",
	"device/path":          "",
	"device/portmap":       "mesh",
	"device/proxy":         "device/splice",
	"device/relay":         "mesh mesh/proxied device/burst device/relay/turn",
	"device/relay/server":  "mesh device/burst device/relay device/relay/turn",
	"device/relay/turn":    "device/stun",
	"device/splice":        "",
	"device/standalone":    "device device/bind device/memory device/tun",
	"device/stun":          "",
	"device/tun":           "mesh device/offload firewall/netlink",
	"firewall":             "mesh",
	"firewall/netlink":     "",
	"firewall/nft":         "mesh firewall firewall/netlink",
	"bench":                "",
	"bench/rig":            "mesh bench bench/rig/load device device/bind device/burst device/forward device/memory device/netstack device/proxy device/relay device/relay/server device/tun",
	"bench/rig/load":       "",
	"cmd/wirespan": "mesh mesh/access mesh/agent mesh/config mesh/control mesh/demo mesh/node bench bench/rig bench/rig/load " +
		"device device/memory device/netstack device/standalone firewall cmd/wirespan/quick",
	"cmd/wirespan/e2e":    "",
	"cmd/wirespan/quick":  "device/memory/text",
	"testdata/edge/guest": "",
	"testdata/firewall":   "firewall",
}

// allowedModules is who may import what from outside, where that says something
// about the package. A path stands for everything below it.
var allowedModules = map[string]string{
	"github.com/vishvananda/netlink": "bench/rig",
	"github.com/google/nftables":     "firewall/nft",
	"google.golang.org/grpc":         "discovery/server",
	"google.golang.org/protobuf":     "discovery/server",
	"golang.org/x/net/http":          "discovery/kubernetes",
	"golang.org/x/net/http2":         "discovery/rpc",
	"golang.org/x/net/idna":          "",
	"net/http":                       "bench/rig device/portmap device/proxy discovery/kubernetes discovery/server mesh/control mesh/demo mesh/node",
	"github.com/siderolabs":          "discovery/server",
	"github.com/prometheus":          "mesh/access mesh/control mesh/node discovery/server",
	"gvisor.dev/gvisor":              "device/netstack",
	"golang.zx2c4.com/wireguard":     "device device/bind device/clamp device/engine device/inflight device/netstack device/relay device/standalone device/tun bench/rig mesh/node/nodetest",
	"github.com/coreos/go-systemd":   "mesh/node",
	"github.com/miekg/dns":           "device/dns",
	"github.com/pion":                "device/relay/server",
	"github.com/godbus/dbus":         "mesh/resolved",
	"github.com/spf13":               "cmd/wirespan",
	"golang.org/x/term":              "cmd/wirespan",
	"k8s.io":                         "discovery/kubernetes",
}

// goPackage is the code of one package, tests aside.
type goPackage struct {
	imports map[string][]string // by path: the files
	docs    []string            // files with a package comment
}

// loadTree reads the import declarations of the whole module.
func loadTree(t *testing.T, root string) map[string]*goPackage {
	t.Helper()
	tree := map[string]*goPackage{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name != ".." && strings.HasPrefix(name, ".") || nestedModule(root, file) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		p := tree[path.Dir(filepath.ToSlash(rel))]
		if p == nil {
			p = &goPackage{imports: map[string][]string{}}
			tree[path.Dir(filepath.ToSlash(rel))] = p
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		p.add(rel, parsed)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func (p *goPackage) add(name string, file *ast.File) {
	if file.Doc != nil {
		p.docs = append(p.docs, name)
	}
	for _, im := range file.Imports {
		if imported, err := strconv.Unquote(im.Path.Value); err == nil {
			p.imports[imported] = append(p.imports[imported], name)
		}
	}
}

func nestedModule(root, dir string) bool {
	found, _ := filepath.Glob(filepath.Join(dir, "go.mod"))
	return dir != root && len(found) > 0
}

func TestImports(t *testing.T) {
	tree := loadTree(t, "..")
	for name, p := range tree {
		allowed, known := allowedImports[name]
		if !known {
			t.Errorf("package %s is not in the table of allowed imports: add it, and to docs/architecture.md", name)
		}
		for imported, files := range p.imports {
			inside, ok := strings.CutPrefix(imported, module+"/")
			if ok && !slices.Contains(strings.Fields(allowed), inside) {
				t.Errorf("%s imports %s, which package %s may not", files[0], inside, name)
			}
			for outside, who := range allowedModules {
				if (imported == outside || strings.HasPrefix(imported, outside+"/")) && !slices.Contains(strings.Fields(who), name) {
					t.Errorf("%s imports %s, which package %s may not", files[0], imported, name)
				}
			}
		}
	}
	for name := range allowedImports {
		if tree[name] == nil {
			t.Errorf("the table of allowed imports has package %s, which does not exist", name)
		}
	}
}

// Every package says once what it is for.
func TestPackageDocs(t *testing.T) {
	for name, p := range loadTree(t, "..") {
		if len(p.docs) != 1 {
			t.Errorf("package %s has package comments in %d files, want 1: %q", name, len(p.docs), p.docs)
		}
	}
}

// commandForbidden is for what a command does not do itself: it parses, calls
// mesh/node or mesh/control, and prints.
var commandForbidden = []string{"net/http", "golang.org/x/sys/unix", "os/exec"}

// TestCommandsStayThin keeps sockets, processes and system calls out of package
// main.
func TestCommandsStayThin(t *testing.T) {
	p := loadTree(t, "..")["cmd/wirespan"]
	for _, imported := range commandForbidden {
		for _, file := range p.imports[imported] {
			t.Errorf("%s imports %s: move what needs it to a package that others can use", file, imported)
		}
	}
}

// The edge build does without net/http, which is a tenth of it: files that need it are not in
// that build.
func TestEdgeBuildSpeaksNoHTTP(t *testing.T) {
	tree := loadTree(t, "..")
	for _, name := range []string{"mesh/access", "mesh/control", "mesh/control/http1", "mesh/node", "cmd/wirespan"} {
		for _, imported := range []string{"net/http", module + "/device/proxy"} {
			for _, file := range tree[name].imports[imported] {
				text, err := os.ReadFile(filepath.Join("..", file))
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(string(text), "//go:build !edge\n") {
					t.Errorf("%s imports %s: use mesh/control/http1, or leave the file out of the edge build", file, imported)
				}
			}
		}
	}
}
