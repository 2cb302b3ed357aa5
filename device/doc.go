// Package device embeds a userspace WireGuard device. It opens the device on a
// data plane ([Interface]) and a UDP bind ([Bind]), applies whole sets of peers,
// reads their statistics, pings through the tunnel, and serves the configuration
// socket of wg(8).
//
// A packet passes these layers, in both directions:
//
//	kernel or netstack ⇄ Interface       device/tun, device/netstack
//	                       ⇅
//	                     pinger          takes out replies to our own pings
//	                       ⇅
//	                     inflight.TUN    gate: bounds packets in flight, CoDel
//	                       ⇅
//	                     upstream        golang.zx2c4.com/wireguard/device
//	                       ⇅
//	                     inflight.Bind   gate: acknowledges packets, limits handshakes
//	                       ⇅
//	UDP sockets        ⇄ Bind            device/bind
//
// Upstream's device is the only holder of the configuration. Apply and Stats read
// it each time, so they see what wg(8) or another program changed, and the next
// Apply corrects it. Apply does not touch a peer that is as it should be: it keeps
// its session.
//
// A peer has its persistent keepalive only while it has a session. Without one,
// the device starts handshakes at the keepalive's interval instead, which costs no
// buffer. So wg(8) shows a keepalive of "off" for a peer that is down.
//
// Limits: private and preshared keys pass through, and are neither kept nor
// shown. They are in the memory of upstream's device, and in replies on the
// configuration socket, to which only its owner can connect. At most 64 pings are
// under way at once.
//
// Ownership: Open takes over Interface and Bind, and Close ends them together with
// all goroutines of this package. Upstream's crypto workers end by themselves a
// moment later. All methods may be called concurrently.
package device
