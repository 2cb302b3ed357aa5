package agent

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/go-hclog"

	"github.com/wirespan/wirespan/mesh"
)

// What a node calls itself makes no line of its own in the log, and no control character.
func TestLogEscapesNames(t *testing.T) {
	const hostile = "evil\"\n[ERROR] forged\x1b[2J\u202e$(id)\x9b"
	for _, asJSON := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, meshDocument)
			h.config.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &h.log, DisableTime: true, JSONFormat: asJSON})
			h.live = []string{"198.51.100.9:51820"}
			h.start()
			defer h.stop()
			p := testPeer(1, h.live...)
			p.Nodename, p.Hostname, p.OperatingSystem = hostile, hostile, hostile
			h.find(p)
			h.advance(time.Minute)
			p.PublicKey = mesh.Key{9} // a condition
			h.find(p)
			h.find()
			h.advance(time.Hour)
			log := h.log.String()
			for _, want := range []string{"peer added", "peer state changed", string(mesh.ConditionIdentityChanged)} {
				if !strings.Contains(log, want) {
					t.Errorf("no %q in\n%s", want, log)
				}
			}
			for line := range strings.Lines(log) {
				line = strings.TrimSuffix(line, "\n")
				good := strings.HasPrefix(line, "[") && !strings.HasPrefix(line, "[ERROR]")
				if asJSON {
					good = json.Valid([]byte(line))
				}
				if !good || !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) || strings.Contains(line, "\u202e") && !asJSON {
					t.Errorf("line %q", line)
				}
			}
		})
	}
}
