package mesh

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// purePackages decide without I/O, clocks or goroutines. Paths are relative to
// this one; direct imports are checked, not what those import themselves.
var purePackages = []string{".", "config", "../discovery", "../discovery/codec", "../discovery/wire", "../firewall", "../device/offload", "../device/path", "../device/relay/turn", "../device/stun"}

var (
	impurePaths = []string{
		"context", "crypto/rand", "io/fs", "log", "math/rand", "net", "os", "sync", "syscall",
		"github.com/hashicorp/go-hclog", "golang.org/x/sys",
		"google.golang.org/grpc",
	}
	pureExceptions = []string{"net/netip", "net/url"}
	impureTime     = []string{"Now", "Since", "Until", "After", "Tick", "NewTimer", "NewTicker", "Sleep", "AfterFunc"}
)

func impureImport(path string) bool {
	if slices.Contains(pureExceptions, path) {
		return false
	}
	return slices.ContainsFunc(impurePaths, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") })
}

func TestPurity(t *testing.T) {
	for _, dir := range purePackages {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 && dir == "." {
			t.Fatal("no files found")
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				for _, problem := range impurities(t, name, nil) {
					t.Error(problem)
				}
			}
		}
	}
}

// impurities lists what is impure in a file; src as in parser.ParseFile.
func impurities(t *testing.T, name string, src any) (problems []string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	timeName := ""
	report := func(at token.Pos, what string) { problems = append(problems, fset.Position(at).String()+": "+what) }
	for _, im := range file.Imports {
		path, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if impureImport(path) {
			report(im.Pos(), "imports "+path)
		}
		if path == "time" {
			timeName = "time"
			if im.Name != nil {
				timeName = im.Name.Name
			}
			if timeName == "." {
				report(im.Pos(), "dot-imports time")
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n.Pos(), "go statement")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == timeName && timeName != "" && slices.Contains(impureTime, n.Sel.Name) {
				report(n.Pos(), "uses time."+n.Sel.Name)
			}
		}
		return true
	})
	return problems
}

func TestPurityIsNoticed(t *testing.T) {
	for _, test := range []struct {
		src  string
		want int
	}{
		{`package p; import "net/netip"; var _ netip.Addr`, 0},
		{`package p; import "time"; func f(t time.Time) bool { return t.After(t) }`, 0},
		{`package p; import "os"`, 1},
		{`package p; import "net"`, 1},
		{`package p; import "net/http"`, 1},
		{`package p; import "log/slog"`, 1},
		{`package p; import "io/fs"`, 1},
		{`package p; import "sync/atomic"`, 1},
		{`package p; import "golang.org/x/sys/unix"`, 1},
		{`package p; import "github.com/hashicorp/go-hclog"`, 1},
		{`package p; import "google.golang.org/grpc/codes"`, 1},
		{`package p; import "google.golang.org/protobuf/proto"`, 0},
		{`package p; import "time"; var x = time.Now()`, 1},
		{`package p; import "time"; var now = time.Now`, 1},
		{`package p; import clock "time"; var c = clock.After(1)`, 1},
		{`package p; func f() { go f() }`, 1},
	} {
		if got := impurities(t, "src.go", test.src); len(got) != test.want {
			t.Errorf("%s: found %q, want %d", test.src, got, test.want)
		}
	}
}
