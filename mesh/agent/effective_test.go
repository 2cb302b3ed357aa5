package agent

import (
	"testing"

	"github.com/wirespan/wirespan/mesh"
)

func TestTunnelMTU(t *testing.T) {
	link := func(mtu int, change func(*mesh.Link)) mesh.Link {
		l := mesh.Link{Name: "l", Up: true, MTU: mtu}
		if change != nil {
			change(&l)
		}
		return l
	}
	routed := func(l *mesh.Link) { l.DefaultRoute = true }
	for name, test := range map[string]struct {
		links []mesh.Link
		want  int
	}{
		"none":               {nil, 1420},
		"ethernet":           {[]mesh.Link{link(1500, routed)}, 1420},
		"jumbo":              {[]mesh.Link{link(9000, routed)}, 1420},
		"cloud":              {[]mesh.Link{link(1460, routed)}, 1380},
		"tiny":               {[]mesh.Link{link(1300, routed)}, 1280},
		"smallest routed":    {[]mesh.Link{link(1500, routed), link(1450, routed), link(1400, nil)}, 1370},
		"no default route":   {[]mesh.Link{link(1500, nil), link(1440, nil)}, 1360},
		"down":               {[]mesh.Link{link(1400, func(l *mesh.Link) { l.Up = false })}, 1420},
		"loopback":           {[]mesh.Link{link(1400, func(l *mesh.Link) { l.Loopback = true })}, 1420},
		"own tunnel":         {[]mesh.Link{link(1280, func(l *mesh.Link) { l.Kind = "tun" }), link(1500, routed)}, 1420},
		"wireguard as route": {[]mesh.Link{link(1280, func(l *mesh.Link) { l.Kind, l.DefaultRoute = "wireguard", true })}, 1420},
	} {
		if got := tunnelMTU(test.links); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
