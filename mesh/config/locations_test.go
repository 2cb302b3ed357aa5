package config

import "testing"

// Mistakes elsewhere in the files do not hide where the agent is.
func TestLocations(t *testing.T) {
	const good = "apiVersion: v1alpha1\nkind: WirespanConfig\ncontrolSocket: /run/a.sock\nstateDir: /var/a\n"
	for name, test := range map[string]struct{ text, socket, dir string }{
		"none":             {},
		"named":            {good, "/run/a.sock", "/var/a"},
		"another kind":     {"kind: KubeSpanConfig\ncontrolSocket: /run/a.sock\n", "", ""},
		"a wrong value":    {good + "listenPort: many\nbogus: [1]\n", "/run/a.sock", "/var/a"},
		"a wrong type":     {"kind: WirespanConfig\ncontrolSocket: [1]\nstateDir: /var/a\n", "", "/var/a"},
		"a wrong document": {"- 1\n---\n" + good, "/run/a.sock", "/var/a"},
		"damaged after it": {good + "---\na: [\n", "/run/a.sock", "/var/a"},
		"damaged before":   {"a: [\n---\n" + good, "", ""},
	} {
		if socket, dir := Locations([]File{{"test.yaml", []byte(test.text)}}); socket != test.socket || dir != test.dir {
			t.Errorf("%s: %q, %q; want %q, %q", name, socket, dir, test.socket, test.dir)
		}
	}
}
