//go:build !edge

package access

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wirespan/wirespan/mesh/config"
)

// The password is a setting, although it is in a file: when it has changed, or is gone, a reload
// starts the proxy anew. Otherwise the proxy stays as it is.
func TestPasswordChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	c := config.Wirespan{Proxy: config.Proxy{Listen: []config.Listener{{Network: "tcp", Address: "127.0.0.1:1080"}}, PasswordFile: file}}
	keys := func() []string { return slices.Collect(maps.Keys(new(Services).wanted(&c, attachment{}))) }
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	before := keys()
	if again := keys(); !slices.Equal(again, before) {
		t.Errorf("restarts without a change: %q, %q", before, again)
	}
	write("second")
	changed := keys()
	if slices.Equal(changed, before) {
		t.Error("the old password stays valid")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if gone := keys(); slices.Equal(gone, changed) {
		t.Error("the password of a file that is gone stays valid")
	}
}
