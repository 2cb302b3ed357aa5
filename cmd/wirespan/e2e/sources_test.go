package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/wirespan/wirespan/mesh/state"
)

// scenarioStatic checks a device that was configured with wg(8), and knows nothing of the
// mesh, as a static peer of one node.
func scenarioStatic(l *lab) {
	a, b := l.host("a").node(""), l.host("b").node("")
	router := l.host("router").bareDevice("")
	b.flags = append(b.flags, "--peers-file", b.path("peers.yaml"))
	write := func(text string) {
		l.Helper()
		if err := os.WriteFile(b.path("peers.yaml"), []byte(text), 0o600); err != nil {
			l.Fatal(err)
		}
	}
	write("peers:\n")
	b.join(a.found())
	l.allUp(a, b)

	own := b.mustStatus().Node
	sixteen := own.Address.As16()
	sixteen[15] ^= 0x55
	router.inner = netip.AddrFrom16(sixteen).String()
	router.start()
	conf := fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s/128\n",
		router.key, own.PublicKey, b.sharedSecret(), own.Address)
	path := filepath.Join(router.dir, router.link+".conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		l.Fatal(err)
	}
	router.mustExec("wg", "setconf", router.link, path)
	router.ip("address add " + router.inner + "/64 dev " + router.link + " nodad")
	router.ip("link set " + router.link + " up")

	good := fmt.Sprintf("peers:\n- name: router\n  publicKey: %s\n  address: %s\n  endpoints: [\"%s:51820\"]\n", router.public, router.inner, router.address)
	write(good)
	eventually(l.T, time.Minute, func() error { return b.sees("router") })
	pings := func() {
		l.Helper()
		b.mustExec("ping", "-c", "3", "-i", "0.05", "-W", "10", router.inner)
		router.mustExec("ping", "-c", "3", "-i", "0.05", "-W", "10", own.Address.String())
	}
	pings()
	if out := b.mustCLI("status"); !strings.Contains(out, "static") {
		l.Errorf("status does not show the source:\n%s", out)
	}
	if err := a.lacks("router"); err != nil {
		l.Error(err)
	}

	write("peers:\n- publicKey: abc\n")
	b.conditionIn(time.Minute, "DiscoveryData", "peers.yaml:2: peers[0].publicKey")
	pings()
	b.restart() // the file is bad from the start
	b.condition("DiscoveryData", "peers.yaml:2: peers[0].publicKey")
	write(good)
	eventually(l.T, time.Minute, func() error { return b.sees("router") })
	b.calm()
	write("peers: []\n")
	eventually(l.T, time.Minute, func() error { return b.lacks("router") })
	l.allUp(a, b)
	b.calm()
}

// sharedSecret returns the preshared key of the mesh.
func (n *labNode) sharedSecret() string {
	n.Helper()
	var list []struct {
		Spec struct {
			SharedSecret string `json:"sharedSecret"`
		} `json:"spec"`
	}
	if err := json.Unmarshal([]byte(n.mustCLI("get", "kubespanconfigs", "--show-secrets", "-o", "json")), &list); err != nil || len(list) != 1 {
		n.Fatal(len(list), err)
	}
	return list[0].Spec.SharedSecret
}

// scenarioCache checks that members meet which start while the founder's discovery server,
// their only one, is away.
func scenarioCache(l *lab) {
	a, b, c := l.host("a").node(""), l.host("b").node(""), l.host("c").node("")
	a.found()
	token := a.mustCLI("token", "--uses", "2")
	b.join(token)
	c.join(token)
	l.allUp(a, b, c)
	for _, n := range []*labNode{b, c} {
		eventually(l.T, time.Minute+within, func() error {
			info, err := os.Stat(n.path(state.CacheFile))
			if err == nil && info.Mode().Perm() != 0o600 {
				err = fmt.Errorf("mode %v", info.Mode())
			}
			return err
		})
	}
	for _, n := range []*labNode{a, b, c} {
		n.proc.end(l.T, syscall.SIGKILL)
	}
	b.up()
	c.up()
	l.allUp(b, c)
	b.pings(c)
	b.mustCLI("status", "--check", "ready")
	b.condition("NodesFromCache", "taken from this node's cache: 2")
	if out := b.mustCLI("get", "affiliates"); !strings.Contains(out, "cache ") {
		l.Errorf("affiliates do not show their source:\n%s", out)
	}

	// A torn file helps nobody, and harms nobody.
	b.proc.end(l.T, syscall.SIGKILL)
	if err := os.Truncate(b.path(state.CacheFile), 100); err != nil {
		l.Fatal(err)
	}
	b.up()
	eventually(l.T, within, func() error {
		if out := tail(b.proc.log, 50); !strings.Contains(out, "the cache of affiliates is not used") {
			return errors.New(out)
		}
		return nil
	})
	a.up()
	l.allUp(a, b, c)
	b.calm()
	c.calm()
}
