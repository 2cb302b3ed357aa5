package codec

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/wirespan/wirespan/discovery"
	"github.com/wirespan/wirespan/mesh"
)

// TestSizesInDocs measures the parts of a signed record, and what fits into one, and
// compares them with the tables in docs/architecture.md.
func TestSizesInDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{partSizes(t), capacities(t)} {
		if !strings.Contains(string(doc), want) {
			t.Errorf("docs/architecture.md lacks this table:\n%s", want)
		}
	}
}

var (
	smallNetwork = []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("fd00:1::/64")}
	exitRoutes   = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	hostAddr     = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
)

// smallest returns an affiliate that has an id, a record and nothing else.
func smallest() mesh.Affiliate {
	return mesh.Affiliate{
		NodeID: nodeKey.NodeID(), MachineType: mesh.MachineUnknown,
		Record: mesh.Record{Sequence: 1_790_000_000_000, Instance: 7, Start: 1_790_000_000_000}, // milliseconds: the year 2026
	}
}

func withKubeSpan() mesh.Affiliate {
	a := smallest()
	a.PublicKey, a.Address = publicKey, netip.MustParseAddr("fd50:8d60:4238:6302:f857:23ff:fe21:d1e0")
	return a
}

func partSizes(t *testing.T) string {
	t.Helper()
	size := func(a mesh.Affiliate) int { return len(encodeSigned("c", nodeKey, a)) }
	// With two of each more, the lengths around them take the bytes that they take in most records.
	grown := withKubeSpan()
	grown.AdditionalAddresses = []netip.Prefix{smallNetwork[0], smallNetwork[1], smallNetwork[0], smallNetwork[1], exitRoutes[0]}
	grown.Endpoints = []netip.AddrPort{netip.AddrPortFrom(hostAddr[1], 1), netip.AddrPortFrom(hostAddr[1], 1)}
	more := func(change func(*mesh.Affiliate)) int {
		b := grown
		change(&b)
		return size(b) - size(grown)
	}
	network := func(n netip.Prefix) int {
		return more(func(a *mesh.Affiliate) { a.AdditionalAddresses = append([]netip.Prefix{n}, a.AdditionalAddresses...) })
	}
	address := func(ip netip.Addr) int { return more(func(a *mesh.Affiliate) { a.Addresses = []netip.Addr{ip} }) }
	endpoint := func(ip netip.Addr) int {
		return more(func(a *mesh.Affiliate) {
			a.Endpoints = append([]netip.AddrPort{netip.AddrPortFrom(ip, 1)}, a.Endpoints...)
		})
	}
	extension := smallest()
	message := encodeAffiliate(extension)
	id := 2 + len(extension.NodeID)
	signature := signatureSize

	var b strings.Builder
	b.WriteString("| part of a signed record | bytes |\n|---|---|\n")
	row := func(part string, bytes ...int) {
		fmt.Fprintf(&b, "| %s | %s |\n", part, strings.Join(strings.Fields(strings.Trim(fmt.Sprint(bytes), "[]")), ", "))
	}
	row("nonce", NonceSize)
	row("AES-GCM tag", newGCM(testKey).Overhead())
	row(fmt.Sprintf("node id of %d characters", len(extension.NodeID)), id)
	row("machine type `worker`, `unknown`", more(func(a *mesh.Affiliate) { a.MachineType = mesh.MachineWorker })+len(message)-id, len(message)-id)
	row("nodename, hostname, operating system: each beside its text", more(func(a *mesh.Affiliate) { a.Nodename = "n" })-1)
	row("address of the host: IPv4, IPv6", address(hostAddr[0]), address(hostAddr[1]))
	row("KubeSpan part: key and mesh address", size(withKubeSpan())-size(smallest()))
	row("network: IPv4, IPv6", network(smallNetwork[0]), network(smallNetwork[1]))
	row("exit route, in the extension: IPv4, IPv6", network(exitRoutes[0]), network(exitRoutes[1]))
	row("endpoint, in the extension: IPv4, IPv6", endpoint(hostAddr[0]), endpoint(hostAddr[1]))
	row("extension: tag, length, sequence, instance, start", size(extension)-len(message)-signature)
	row("flag of an ephemeral identity", more(func(a *mesh.Affiliate) { a.Record.Ephemeral = true }))
	row("signature", signature)
	return b.String()
}

// capacities returns how much of one kind fits into the record of a usual node, beside its
// other data and a number of signed endpoints.
func capacities(t *testing.T) string {
	t.Helper()
	fits := func(a mesh.Affiliate) bool {
		_, cut, err := SealAffiliate(test, nodeKey, a, testNonce)
		return err == nil && cut == ""
	}
	most := func(a mesh.Affiliate, add func(*mesh.Affiliate, int)) int {
		for n := 0; ; n++ {
			if add(&a, n); !fits(a) {
				return n
			}
		}
	}
	usual := withKubeSpan()
	usual.Nodename, usual.Hostname, usual.OperatingSystem = strings.Repeat("n", 16), strings.Repeat("h", 32), "Debian GNU/Linux 13 (trixie)"
	usual.Addresses = append(usual.Addresses, hostAddr...)
	var b strings.Builder
	fmt.Fprintf(&b, "| endpoints (half of them IPv6) | IPv4 networks | or IPv6 networks | or more endpoints, IPv6 |\n|---|---|---|---|\n")
	for _, endpoints := range []int{0, 2, 8} {
		a := usual
		for i := range endpoints {
			a.Endpoints = append(a.Endpoints, netip.AddrPortFrom(hostAddr[i%2], uint16(1+i)))
		}
		network := func(kind int) int {
			return most(a, func(a *mesh.Affiliate, _ int) {
				a.AdditionalAddresses = append(a.AdditionalAddresses, smallNetwork[kind])
			})
		}
		more := most(a, func(a *mesh.Affiliate, n int) {
			a.Endpoints = append(a.Endpoints, netip.AddrPortFrom(hostAddr[1], uint16(100+n)))
		})
		fmt.Fprintf(&b, "| %d | %d | %d | %d |\n", endpoints, network(0), network(1), more)
	}
	if blob, _, err := SealAffiliate(test, nodeKey, usual, testNonce); err != nil || len(blob) > discovery.MaxAffiliateDataSize/4 {
		t.Errorf("the record of a usual node has %d bytes, error %v: more than a quarter of the limit", len(blob), err)
	}
	return b.String()
}
