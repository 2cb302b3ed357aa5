package rig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// underlay is the name of the link between the two ends, at both ends.
const underlay = "underlay0"

// Subcommands of SIOCETHTOOL (linux/ethtool.h) that read an offload.
const (
	ethtoolTSO = 0x1e
	ethtoolGSO = 0x23
	ethtoolGRO = 0x2b
)

// vethInfoPeer is VETH_INFO_PEER, the attribute of the other link of a pair.
const vethInfoPeer = 1

// netemLatency64 is TCA_NETEM_LATENCY64, in nanoseconds.
const netemLatency64 = 10

// link tells an agent how to set up its end of the network.
type link struct {
	Peer   int // process id of the other end, for the end that creates the pair; else 0
	Prefix netip.Prefix
	MTU    int
	Delay  time.Duration // of packets that leave here
	Loss   float64       // share of packets that leave here
}

// make sets this end up and returns the offloads of the link.
func (l *link) make() (map[string]bool, error) {
	if l.Peer != 0 {
		peer := nl.NewRtAttr(unix.IFLA_INFO_DATA, nil)
		end := peer.AddRtAttr(vethInfoPeer, make([]byte, unix.SizeofIfInfomsg))
		end.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(underlay))
		end.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(l.MTU)))
		end.AddRtAttr(unix.IFLA_NET_NS_PID, nl.Uint32Attr(uint32(l.Peer)))
		if err := addLink(underlay, "veth", peer); errors.Is(err, unix.EOPNOTSUPP) {
			return nil, errors.New("this kernel has no veth links: use --unprivileged")
		} else if err != nil {
			return nil, fmt.Errorf("create a veth pair: %w", err)
		}
	}
	if err := configureLink("lo", netip.Prefix{}, 0); err != nil {
		return nil, err
	}
	if err := configureLink(underlay, l.Prefix, l.MTU); err != nil {
		return nil, err
	}
	if l.Delay > 0 || l.Loss > 0 {
		if err := impair(l.Delay, l.Loss); err != nil {
			return nil, err
		}
	}
	return offloads(underlay), nil
}

// addLink creates a link of a kind, with attributes of that kind (rtnetlink(7)).
func addLink(name, kind string, data ...nl.NetlinkRequestData) error {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	for _, d := range data {
		info.AddChild(d)
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// configureLink sets the MTU and adds an address, each unless it is zero, and sets
// the link up.
func configureLink(name string, address netip.Prefix, mtu int) error {
	l, err := netlink.LinkByName(name)
	if err == nil && mtu != 0 {
		err = netlink.LinkSetMTU(l, mtu)
	}
	if err == nil && address.IsValid() {
		err = netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{
			IP: address.Addr().AsSlice(), Mask: net.CIDRMask(address.Bits(), address.Addr().BitLen()),
		}})
	}
	if err == nil {
		err = netlink.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("set up link %s: %w", name, err)
	}
	return nil
}

// linkMTU returns the MTU of the link that has the address.
func linkMTU(address netip.Addr) (int, error) {
	links, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == address {
				return l.MTU, nil
			}
		}
	}
	return 0, fmt.Errorf("no link has the address %s", address)
}

// impair delays and drops packets that leave by the underlay link (tc-netem(8)).
func impair(delay time.Duration, loss float64) error {
	l, err := netlink.LinkByName(underlay)
	if err != nil {
		return fmt.Errorf("look up link %s: %w", underlay, err)
	}
	// struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter. The
	// latency in nanoseconds follows as an attribute.
	options := make([]byte, 24)
	binary.NativeEndian.PutUint32(options[4:], 100_000) // most packets that are delayed at a time
	binary.NativeEndian.PutUint32(options[8:], uint32(loss*math.MaxUint32))
	attr := nl.NewRtAttr(nl.TCA_OPTIONS, options)
	attr.AddRtAttr(netemLatency64, binary.NativeEndian.AppendUint64(nil, uint64(delay)))
	req := nl.NewNetlinkRequest(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(l.Attrs().Index), Parent: netlink.HANDLE_ROOT})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated("netem")))
	req.AddData(attr)
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENOENT) {
		return errors.New("delay and loss are not available: this kernel has no netem (sch_netem)")
	}
	if err != nil {
		return fmt.Errorf("delay and drop packets on link %s: %w", underlay, err)
	}
	return nil
}

// offloads returns which offloads a link has on. It leaves out those that the link
// does not report.
func offloads(name string) map[string]bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	s := os.NewFile(uintptr(fd), "ethtool")
	defer s.Close()
	out := make(map[string]bool)
	for feature, command := range map[string]uint32{
		"tcp-segmentation-offload": ethtoolTSO, "generic-segmentation-offload": ethtoolGSO, "generic-receive-offload": ethtoolGRO,
	} {
		value := struct{ command, data uint32 }{command: command}
		var request struct { // struct ifreq
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}
		copy(request.name[:unix.IFNAMSIZ-1], name)
		request.data = unsafe.Pointer(&value)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno == 0 {
			out[feature] = value.data != 0
		}
	}
	return out
}
