package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/device/bind"
	"github.com/wirespan/wirespan/device/netstack"
	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/discovery/server"
	client "github.com/wirespan/wirespan/discovery/service"
	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/mesh"
	"github.com/wirespan/wirespan/mesh/agent"
	"github.com/wirespan/wirespan/mesh/agent/contract"
	"github.com/wirespan/wirespan/mesh/config"
	"github.com/wirespan/wirespan/mesh/host"
	"github.com/wirespan/wirespan/mesh/state"
)

// The real parts keep the contracts that the loop's tests on fakes rely on.

func TestDeviceContract(t *testing.T) {
	contract.Device(t, func(t *testing.T) contract.DeviceCase {
		keys := [2]mesh.PrivateKey{mesh.NewPrivateKey([32]byte{64}), mesh.NewPrivateKey([32]byte{128})}
		var devices [2]*device.Device
		var addresses [2]netip.Addr
		for i := range devices {
			addresses[i] = netip.AddrFrom16([16]byte{0xfd, 1, 15: byte(i + 1)})
			stack := must(netstack.New(netstack.Config{Addresses: []netip.Addr{addresses[i]}, MTU: mesh.DefaultMTU}))
			devices[i] = must(device.Open(device.Config{TUN: stack, Bind: bind.New(hclog.NewNullLogger()), PrivateKey: keys[i]}))
		}
		far := devices[1]
		t.Cleanup(func() { _ = far.Close() })
		peer := func(i int, endpoint netip.AddrPort) mesh.PeerConfig {
			return mesh.PeerConfig{
				PublicKey: keys[i].Public(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(addresses[i], 128)},
				Endpoint: endpoint, PersistentKeepalive: mesh.PersistentKeepalive,
			}
		}
		loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if err := far.Apply([]mesh.PeerConfig{peer(0, netip.AddrPort{})}); err != nil {
			t.Fatal(err)
		}
		return contract.DeviceCase{
			Device: devices[0], Address: netip.PrefixFrom(addresses[0], 64),
			Answering: peer(1, netip.AddrPortFrom(loopback, far.ListenPort())),
		}
	})
}

func TestRegistryContract(t *testing.T) {
	secret := mesh.NewSecret([32]byte{1})
	contract.Registry(t, func(t *testing.T) contract.RegistryCase {
		srv := must(server.New(server.Config{}))
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- srv.Serve(ctx, l) }()
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Serve = %v", err)
			}
		})
		open := func(id string) *client.Client {
			return must(client.New(client.Config{
				Name: "one", Endpoints: []string{l.Addr().String()}, Insecure: true,
				ClusterID: testClusterID, AffiliateID: id, Secret: secret, ClientVersion: "v0.0.0",
			}))
		}
		run := func(t *testing.T, c *client.Client) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- c.Run(ctx) }()
			t.Cleanup(func() {
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run = %v", err)
				}
			})
		}
		self := mesh.Affiliate{NodeID: mesh.NodeIDFromBytes([32]byte{200}), Hostname: "self"}
		observer := open(mesh.NodeIDFromBytes([32]byte{201}))
		run(t, observer)
		return contract.RegistryCase{
			Registry: open(self.NodeID), Self: self,
			Join: func(t *testing.T, a mesh.Affiliate) {
				c := open(a.NodeID)
				c.Publish(discovery.Local{Affiliate: a})
				run(t, c)
			},
			Published: func(*testing.T) (mesh.Affiliate, bool) {
				for _, a := range observer.Snapshot().Affiliates {
					if a.NodeID == self.NodeID {
						return a, true
					}
				}
				return mesh.Affiliate{}, false
			},
		}
	})
}

func TestFirewallContract(t *testing.T) {
	const tunnel = "wstest0"
	contract.Firewall(t, func(t *testing.T) contract.FirewallCase {
		namespace(t)
		veth(t, tunnel)
		st := must(state.Open(config.StateMemory, nil))
		memory := state.OpenMemory(st)
		k := must(openKernel(st, memory, hclog.NewNullLogger()))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := errors.Join(<-ended, k.Close()); err != nil {
				t.Errorf("Run and Close = %v", err)
			}
		})
		return contract.FirewallCase{Firewall: remembering{k, memory}, Interface: tunnel, Damage: func(t *testing.T) { ip(t, "route flush table 180") }}
	})
}

// remembering keeps each policy before it is applied, as the loop does: Remove
// takes back what was kept.
type remembering struct {
	*kernel
	memory *state.Memory
}

func (r remembering) Apply(p firewall.Policy) ([]mesh.Condition, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if err := r.memory.KeepPolicy(p); err != nil {
		return nil, err
	}
	return r.kernel.Apply(p)
}

func TestHostContract(t *testing.T) {
	contract.Host(t, func(t *testing.T) (agent.Host, func(*testing.T)) {
		namespace(t)
		veth(t, "up0")
		h := host.New(host.Config{})
		ctx, cancel := context.WithCancel(context.Background())
		subscribed, ended := make(chan struct{}), make(chan error, 1)
		there := must(os.Open("/proc/thread-self/ns/net"))
		go func() {
			defer there.Close()
			runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
			err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET)
			close(subscribed)
			ended <- errors.Join(err, h.Run(ctx))
		}()
		<-subscribed
		t.Cleanup(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run = %v", err)
			}
		})
		next := 1
		return h, func(t *testing.T) {
			ip(t, "address add 192.0.2."+string(rune('0'+next))+"/24 dev up0")
			next++
		}
	})
}

// namespace moves the test's thread to a new network namespace, which ends with
// the thread. Commands that the test starts run in it.
func namespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal("make a network namespace:", err)
	}
	ip(t, "link set lo up")
}

func ip(t *testing.T, args string) string {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// veth adds an interface that gets no addresses from the kernel. It returns when
// the interface is up and the kernel has added its multicast route: an event of
// those later would count as interference.
func veth(t *testing.T, name string) {
	t.Helper()
	ip(t, "link add "+name+" type veth peer peer-"+name)
	for _, end := range []string{name, "peer-" + name} {
		ip(t, "link set "+end+" addrgenmode none up")
	}
	for t.Context().Err() == nil {
		up := strings.Contains(ip(t, "link show "+name), "state UP")
		if up && strings.Contains(ip(t, "-6 route show table local dev "+name), "ff00::/8") {
			return
		}
	}
}
