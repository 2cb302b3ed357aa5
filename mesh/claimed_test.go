package mesh

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	namedTest = regexp.MustCompile("`(Test[A-Z]\\w*)(?:/(\\w+))?`")
	someTest  = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(t \*testing\.T\)`)
	scenario  = regexp.MustCompile(`(?m)^\t\{"(\w+)", scenario\w+\},$`)
)

// TestClaimsAreTested checks that each test that docs/security.md names exists, and that
// each answer in its table of who can do what names one. What an ex-member can do follows
// from what a member can.
func TestClaimsAreTested(t *testing.T) {
	tests := testNames(t, "..")
	data, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	named := namedTest.FindAllStringSubmatch(string(data), -1)
	for _, m := range named {
		if !tests[m[1]] || m[2] != "" && !tests["scenario "+m[2]] {
			t.Errorf("there is no test %s", m[0])
		}
	}
	answers := 0
	for line := range strings.Lines(string(data)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		who := strings.TrimSpace(cells[0])
		if !strings.HasPrefix(line, "| ") || who == "" {
			continue
		}
		for i, cell := range cells[1:] {
			answers++
			if !namedTest.MatchString(cell) {
				t.Errorf("%s: answer %d names no test: %s", who, i+1, cell)
			}
		}
	}
	if len(named) == 0 || answers == 0 || answers%5 != 0 {
		t.Errorf("%d tests are named, the table has %d answers", len(named), answers)
	}
}

// testNames returns the names of the module's tests, and of the scenarios in namespaces.
func testNames(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (nestedModule(root, file) || file != root && strings.HasPrefix(d.Name(), ".")) {
			if err == nil {
				err = filepath.SkipDir
			}
			return err
		}
		if d.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(file)
		for _, m := range someTest.FindAllSubmatch(data, -1) {
			names[string(m[1])] = true
		}
		for _, m := range scenario.FindAllSubmatch(data, -1) {
			names["scenario "+string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
