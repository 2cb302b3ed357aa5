package kubernetes

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/codec"
	"github.com/wirespan/wirespan/mesh"
)

func TestPublish(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", map[string]string{apiPortKey: "6443", excludedKey: "10.9.0.0/16"})
		c := newClient(t, api)
		stop := run(t, c)
		local := affiliate(1)
		c.Publish(discovery.Local{Affiliate: local})
		settle(time.Second)
		want := present(plain(local))
		got := api.annotations("own")
		blob := got[Affiliate]
		delete(got, Affiliate)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("annotations %q, want %q", got, want)
		}
		if !c.Snapshot().Published {
			t.Error("not published")
		}

		// Nothing has changed: not now, and not after a restart.
		stop()
		c = newClient(t, api)
		run(t, c)
		c.Publish(discovery.Local{Affiliate: affiliate(1)})
		settle(10 * time.Minute)
		if patches := api.written(); len(patches) != 1 || !c.Snapshot().Published {
			t.Errorf("published %v, patches %q; want one", c.Snapshot().Published, patches)
		}
		if got := api.annotations("own")[Affiliate]; got != blob {
			t.Error("the sealed data is another one")
		}

		// A burst of changes needs few writes, and only what differs is written.
		for i := range 100 {
			local.Endpoints = []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("192.0.2.77"), uint16(i+1))}
			c.Publish(discovery.Local{Affiliate: local})
			time.Sleep(100 * time.Millisecond)
		}
		settle(time.Minute)
		patches := api.written()
		if n := len(patches); n < 2 || n > 4 {
			t.Fatalf("%d patches for 10 s of changes, want 2 to 4", n)
		}
		if strings.Contains(patches[0], addressesKey) || !strings.Contains(patches[0], "resourceVersion") {
			t.Errorf("patch %s: not the difference for a version", patches[0])
		}
		if got := api.annotations("own")[endpointsKey]; got != "192.0.2.77:100" {
			t.Errorf("endpoints %q", got)
		}
	})
}

// Ours are read back byte for byte, by an unsigned and a signed node, and with what others
// must not read.
func TestPublishedIsRead(t *testing.T) {
	whole := signed(1, 9)
	whole.AdditionalAddresses = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("0.0.0.0/0")}
	whole.ExcludeAdvertisedNetworks = []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16")}
	for name, local := range map[string]mesh.Affiliate{"unsigned": affiliate(1), "signed": signed(1, 9), "whole": whole} {
		for _, talos := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s talos=%v", name, talos), func(t *testing.T) {
				bubble(t, func(t *testing.T, api *fakeAPI) {
					api.set("own", nil)
					api.set("other", nil)
					c := newClient(t, api, func(c *Config) { c.Talos = talos })
					run(t, c)
					c.Publish(discovery.Local{Affiliate: local})
					other := newClient(t, api, func(c *Config) {
						c.Node, c.AffiliateID, c.NodeKey, c.ReadOnly = "other", nodeKey(2).NodeID(), nodeKey(2), true
					})
					run(t, other)
					settle(10 * time.Second)
					want := local
					if !talos && !local.Record.Signed() {
						want.Endpoints = nil
					}
					if got := other.Snapshot().Affiliates; len(got) != 1 || !reflect.DeepEqual(got[0], want) {
						t.Errorf("read\n%+v\nwant\n%+v", got, want)
					}
					wantNoProblem(t, other)
					annotations := api.annotations("own")
					data, err := base64.StdEncoding.DecodeString(annotations[Affiliate])
					if a, _, errOpen := codec.OpenAffiliate(test, data, discovery.Known{}); err != nil || errOpen != nil || a.NodeID != local.NodeID {
						t.Errorf("sealed data: %v, %v", err, errOpen)
					}
					for _, v := range annotations {
						if strings.Contains(v, "0.0.0.0/0") {
							t.Errorf("an exit route in plain text: %q", annotations)
						}
					}
					if !talos && len(annotations) != 2 {
						t.Errorf("annotations %q, want the node id and the sealed data alone", annotations)
					}
				})
			})
		}
	}
}

func TestConflict(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		c := newClient(t, api)
		run(t, c)
		settle(time.Second)
		races := 2
		api.setRefuse(func(verb string, w http.ResponseWriter) bool {
			if verb == "patch" && races > 0 {
				races--
				api.set("own", nil) // the kubelet is faster
			}
			return false
		})
		c.Publish(discovery.Local{Affiliate: affiliate(1)})
		settle(time.Second)
		if len(api.annotations("own")) == 0 || !c.Snapshot().Published {
			t.Errorf("annotations %q, published %v", api.annotations("own"), c.Snapshot().Published)
		}
		wantNoProblem(t, c)
	})
}

// What another program does to the annotations is undone, more slowly each time.
func TestQuarrel(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		c := newClient(t, api)
		run(t, c)
		c.Publish(discovery.Local{Affiliate: affiliate(1)})
		settle(10 * time.Second)
		api.written()
		for range 600 {
			if len(api.annotations("own")) > 0 {
				api.set("own", nil)
			}
			settle(time.Second)
		}
		if n := len(api.written()); n < 5 || n > 60 {
			t.Errorf("%d patches in 10 minutes of quarrel", n)
		}
		settle(2 * time.Minute)
		if !c.Snapshot().Published || len(api.annotations("own")) == 0 {
			t.Error("not published after the quarrel")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	bubble(t, func(t *testing.T, api *fakeAPI) {
		api.set("own", nil)
		c := newClient(t, api)
		run(t, c)
		settle(time.Second)
		busy := 0
		api.setRefuse(func(verb string, w http.ResponseWriter) bool {
			if verb == "patch" && busy == 0 {
				busy++
				w.Header().Set("Retry-After", "90")
				status(w, 429, "TooManyRequests", "later")
				return true
			}
			return false
		})
		c.Publish(discovery.Local{Affiliate: affiliate(1)})
		settle(80 * time.Second)
		if len(api.written()) != 0 {
			t.Error("written before the time that the server has named")
		}
		settle(30 * time.Second)
		if n := len(api.written()); n != 1 || !c.Snapshot().Published {
			t.Errorf("%d patches, want 1", n)
		}
	})
}

func TestDelete(t *testing.T) {
	for _, leaves := range []bool{true, false} {
		t.Run(fmt.Sprintf("signed=%v", leaves), func(t *testing.T) {
			bubble(t, func(t *testing.T, api *fakeAPI) {
				api.set("own", nil)
				c := newClient(t, api)
				stop := run(t, c)
				c.Publish(discovery.Local{Affiliate: signed(1, 5)})
				settle(time.Second)
				stop()
				var last mesh.Affiliate
				if leaves {
					last = mesh.Affiliate{NodeID: nodeKey(1).NodeID(), Record: mesh.Record{Sequence: 6, Instance: 1, Start: 1, Left: true}}
				}
				if err := c.Delete(t.Context(), last); err != nil {
					t.Fatal(err)
				}
				got := api.annotations("own")
				if !leaves {
					if len(got) != 0 {
						t.Errorf("left: %q", got)
					}
					return
				}
				data, err := base64.StdEncoding.DecodeString(got[Affiliate])
				a, _, errOpen := codec.OpenAffiliate(test, data, discovery.Known{Sequence: 5})
				if err != nil || errOpen != nil || !a.Record.Left || len(got) != 2 {
					t.Errorf("left: %q, %v, %v, %+v", got, err, errOpen, a)
				}
			})
		})
	}
}
