package rig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/mesh"
)

// Constants of linux/wireguard.h.
const (
	wgVersion   = 1
	wgSetDevice = 1

	wgDeviceInterface  = 2
	wgDevicePrivateKey = 3
	wgDeviceListenPort = 6
	wgDevicePeers      = 8

	wgPeerPublicKey  = 1
	wgPeerEndpoint   = 4
	wgPeerAllowedIPs = 9

	wgAllowedIPFamily  = 1
	wgAllowedIPAddress = 2
	wgAllowedIPMask    = 3
)

// openKernel creates a link of the kernel's WireGuard.
func openKernel(t *tunnel) (*opened, error) {
	err := addLink(t.Interface, "wireguard")
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, absentError{errors.New("this kernel has no WireGuard")}
	}
	if err != nil {
		return nil, fmt.Errorf("create a WireGuard link: %w", err)
	}
	family, err := netlink.GenlFamilyGet("wireguard")
	if err != nil {
		return nil, fmt.Errorf("configure the kernel's WireGuard: %w", err)
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	req.AddData(&nl.Genlmsg{Command: wgSetDevice, Version: wgVersion})
	attrs, err := t.kernelAttributes()
	if err != nil {
		return nil, err
	}
	for _, a := range attrs {
		req.AddData(a)
	}
	if _, err := req.Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return nil, fmt.Errorf("configure the kernel's WireGuard: %w", err)
	}
	if err := configureLink(t.Interface, t.prefix(), t.MTU); err != nil {
		return nil, err
	}
	return &opened{Address: t.Address, MTU: t.MTU, Port: t.Port}, nil
}

// kernelAttributes returns the tunnel in the kernel's configuration protocol.
func (t *tunnel) kernelAttributes() ([]*nl.RtAttr, error) {
	key, err := mesh.ParsePrivateKey(t.Key)
	if err != nil {
		return nil, fmt.Errorf("tunnel's private key: %w", err)
	}
	raw := key.Reveal()
	peers := nl.NewRtAttr(wgDevicePeers|unix.NLA_F_NESTED, nil)
	peer := peers.AddRtAttr(unix.NLA_F_NESTED, nil)
	peer.AddRtAttr(wgPeerPublicKey, t.PeerKey[:])
	if t.Peer.IsValid() {
		peer.AddRtAttr(wgPeerEndpoint, sockaddrIPv4(t.Peer))
	}
	allowed := peer.AddRtAttr(wgPeerAllowedIPs|unix.NLA_F_NESTED, nil).AddRtAttr(unix.NLA_F_NESTED, nil)
	allowed.AddRtAttr(wgAllowedIPFamily, nl.Uint16Attr(unix.AF_INET))
	allowed.AddRtAttr(wgAllowedIPAddress, t.PeerAddress.AsSlice())
	allowed.AddRtAttr(wgAllowedIPMask, nl.Uint8Attr(32))
	return []*nl.RtAttr{
		nl.NewRtAttr(wgDeviceInterface, nl.ZeroTerminated(t.Interface)),
		nl.NewRtAttr(wgDevicePrivateKey, raw[:]),
		nl.NewRtAttr(wgDeviceListenPort, nl.Uint16Attr(t.Port)),
		peers,
	}, nil
}

// sockaddrIPv4 encodes struct sockaddr_in.
func sockaddrIPv4(a netip.AddrPort) []byte {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
	b = binary.BigEndian.AppendUint16(b, a.Port())
	return append(append(b, a.Addr().AsSlice()...), make([]byte, 8)...)
}
