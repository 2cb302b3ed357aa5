package nft

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall/netlink"
)

// Legacy is what the filter table of iptables-legacy, which nftables do not show, does
// with forwarded packets.
type Legacy struct {
	IPv6    bool
	Command string // iptables-legacy or ip6tables-legacy
	// In and Out say that no rule accepts what comes in, or goes out, by the tunnel.
	In, Out bool
}

// legacyLayout is where the kernel has what of the tables of an IP version.
type legacyLayout struct {
	names, command string
	family         int
	level          uintptr
	interfaces     int // of an entry: names of 16 bytes, for both directions
	offsets        int // of an entry: of its target and of the next entry
	entry          int // size of an entry without matches and target
}

var legacyLayouts = []legacyLayout{
	{"ip_tables_names", "iptables-legacy", unix.AF_INET, unix.IPPROTO_IP, 16, 88, 112},
	{"ip6_tables_names", "ip6tables-legacy", unix.AF_INET6, unix.IPPROTO_IPV6, 64, 140, 168},
}

// Of linux/netfilter_ipv4/ip_tables.h: options of sockets, and the layout of their values.
const (
	legacyGetInfo    = 64
	legacyGetEntries = 65
	legacyName       = 32
	legacyInfoSize   = legacyName + 13*4
	legacyHeader     = legacyName + 8 // of the entries, which are aligned to 8 bytes
	legacyTargetSize = 40             // of a standard target, with its verdict at 32
	maxLegacyBytes   = 4 << 20
	legacyDrop       = -1 // verdicts of standard targets
	legacyAccept     = -2
)

// LegacyDrops returns the legacy tables whose policy for forwarded packets is drop, and
// that have no rule that accepts packets by the tunnel. More of their rules is not
// looked at. A host without such tables gets none loaded.
func (f *Firewall) LegacyDrops(tunnel string) ([]Legacy, error) {
	var out []Legacy
	for i := range legacyLayouts {
		l := &legacyLayouts[i]
		names, err := os.ReadFile("/proc/thread-self/net/" + l.names)
		if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
			continue
		}
		from, into, err := l.drops(tunnel)
		if err != nil {
			return nil, fmt.Errorf("read the rules of %s: %w", l.command, err)
		}
		if from || into {
			out = append(out, Legacy{l.family == unix.AF_INET6, l.command, from, into})
		}
	}
	return out, nil
}

// drops reads the filter table. It returns whether packets are dropped that come in, and
// that go out, by the tunnel.
func (l *legacyLayout) drops(tunnel string) (in, out bool, err error) {
	fd, err := unix.Socket(l.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, false, err
	}
	defer func() { _ = unix.Close(fd) }()
	info := make([]byte, legacyInfoSize)
	copy(info, "filter")
	if err := l.get(fd, legacyGetInfo, info); err != nil {
		return false, false, err
	}
	number := func(i int) int { return int(binary.NativeEndian.Uint32(info[legacyName+4*i:])) }
	first, policy, size := number(1+unix.NF_INET_FORWARD), number(6+unix.NF_INET_FORWARD), number(12)
	if number(0)&(1<<unix.NF_INET_FORWARD) == 0 || size > maxLegacyBytes || first > size || policy > size {
		return false, false, nil
	}
	table := make([]byte, legacyHeader+size)
	copy(table, "filter")
	binary.NativeEndian.PutUint32(table[legacyName:], uint32(size))
	if err := l.get(fd, legacyGetEntries, table); err != nil {
		return false, false, err
	}
	in, out = l.closed(table[legacyHeader:], policy, tunnel)
	return in, out, nil
}

// closed looks through the entries of a table, of which the one at policy is the policy
// for forwarded packets.
func (l *legacyLayout) closed(entries []byte, policy int, tunnel string) (in, out bool) {
	if l.verdict(entries[min(policy, len(entries)):]) != legacyDrop {
		return false, false
	}
	in, out = true, true
	for len(entries) >= l.entry {
		if l.verdict(entries) == legacyAccept {
			name := func(i int) string { return netlink.Text(entries[l.interfaces+16*i:][:16]) }
			in, out = in && name(0) != tunnel, out && name(1) != tunnel
		}
		next := int(binary.NativeEndian.Uint16(entries[l.offsets+2:]))
		if next < l.entry || next > len(entries) {
			break
		}
		entries = entries[next:]
	}
	return in, out
}

// verdict returns the verdict of an entry; 0 if its target is another.
func (l *legacyLayout) verdict(entry []byte) int32 {
	if len(entry) < l.entry {
		return 0
	}
	at := int(binary.NativeEndian.Uint16(entry[l.offsets:]))
	if at < l.entry || at+legacyTargetSize > len(entry) || entry[at+2] != 0 { // a standard target has no name
		return 0
	}
	return int32(binary.NativeEndian.Uint32(entry[at+32:]))
}

func (l *legacyLayout) get(fd int, option uintptr, value []byte) error {
	n := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), l.level, option, uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&n)), 0)
	runtime.KeepAlive(value)
	if errno != 0 {
		return errno
	}
	return nil
}
