package agent

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wirespan/wirespan/mesh"
)

// needles are all forms in which the secrets of a harness could show.
func (h *harness) needles() map[string]string {
	private := h.config.Keys.PrivateKey.Reveal()
	secret := h.config.Effective.ClusterSecret.Reveal()
	out := map[string]string{"cluster id": testClusterID, "end of the cluster id": testClusterID[len(testClusterID)-12:]}
	for name, b := range map[string][32]byte{"private key": private, "cluster secret": secret} {
		out[name+", base64"] = base64.StdEncoding.EncodeToString(b[:])
		out[name+", base64url"] = base64.RawURLEncoding.EncodeToString(b[:])
		out[name+", hex"] = hex.EncodeToString(b[:])
		out[name+", decimal"] = strings.Trim(fmt.Sprint(b), "[]")
	}
	return out
}

// What happens to an agent in its life shows none of its secrets: not in logs
// at trace level, status, resources, metrics or the words of errors.
func TestSecretsNeverShow(t *testing.T) {
	bubble(t, []string{meshDocument}, func(h *harness) {
		p := testPeer(2, deadEndpoint, liveEndpoint)
		h.find(p)
		h.advance(time.Minute)
		h.device().With(func() {})
		h.reload = func() (*Effective, error) { return nil, errTest }
		_, reloadErr := h.agent.Reload(h.t.Context())
		h.reload = func() (*Effective, error) { return settings(t, otherCluster(), meshDocument), nil }
		shown := map[string]string{
			"status":    string(must(json.Marshal(h.agent.Status()))),
			"resources": dump(h.agent, false),
			"settings":  fmt.Sprintf("%v %+v", h.config.Keys, h.config.Effective.ClusterSecret),
			"error":     reloadErr.Error(),
		}
		revealed := dump(h.agent, true)
		if _, err := h.agent.Reload(h.t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.stop()
		shown["log"] = h.log.String()
		for where, text := range shown {
			if len(text) == 0 {
				t.Errorf("%s is empty", where)
			}
			for what, needle := range h.needles() {
				if strings.Contains(text, needle) {
					t.Errorf("%s shows the %s:\n%s", where, what, text)
				}
			}
		}
		for _, what := range []string{"private key, base64", "cluster secret, base64", "cluster id"} {
			if !strings.Contains(revealed, h.needles()[what]) {
				t.Errorf("asked for secrets, resources lack the %s", what)
			}
		}
		if !strings.Contains(shown["log"], p.PublicKey.String()) || !strings.Contains(shown["log"], mesh.PeerStateUp.String()) {
			t.Errorf("the log tells nothing:\n%s", shown["log"])
		}
	})
}
