package nft

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
	"github.com/wirespan/wirespan/firewall/netlink"
)

// Objects of others are a conflict. The error names the setting that avoids it,
// and nothing is changed.
func TestConflicts(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", iface)
	rs := firewall.Compile(policy("10.1.0.0/16", "fd01::/48"))
	for _, c := range []struct{ add, remove, want string }{
		{"nft add table inet wirespan { chain mine { type filter hook input priority 0; }; }", "nft delete table inet wirespan", "firewall.table"},
		{"nft add table inet wirespan { comment \"mine\"; }", "nft delete table inet wirespan", "firewall.table"},
		{"ip rule add priority 32500 lookup 7", "ip rule del priority 32500", "firewall.rulePriority"},
		{"ip -6 rule add priority 32500 fwmark 0x40/0x60 iif lo lookup 180", "ip -6 rule del priority 32500", "firewall.rulePriority"},
		{"ip route add default via 192.0.2.2 table 180", "ip route flush table 180", "firewall.routingTable"},
		{"ip route add 10.0.0.0/8 via 192.0.2.2 table 180 proto static", "ip route flush table 180", "firewall.routingTable"},
		{"ip -6 route add default dev peer-wstest0 table 180 proto static", "ip -6 route flush table 180", "firewall.routingTable"},
	} {
		feedShell(t, c.add)
		before := kernel(t)
		f := open(t)
		err := f.Apply(rs)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not name %s", c.add, err, c.want)
		}
		if now := kernel(t); now != before {
			t.Errorf("%s: changed to\n%s\nfrom\n%s", c.add, now, before)
		}
		if err := f.Remove(rs); err != nil {
			t.Error(err)
		}
		if now := kernel(t); now != before {
			t.Errorf("%s: removed what is not ours, now\n%s\nbefore\n%s", c.add, now, before)
		}
		feedShell(t, c.remove)
	}
	// Not a conflict: empty tables, and tables with only our chains.
	for _, add := range []string{"nft add table inet wirespan", "nft add table inet wirespan { comment \"wirespan\"; }", "nft add table inet wirespan { chain guard { counter; }; }"} {
		feedShell(t, add)
		apply(t, open(t), rs)
		expect(t, rs)
		if err := open(t).Remove(rs); err != nil {
			t.Error(err)
		}
	}
}

// feedShell runs one line, of nft or ip.
func feedShell(t *testing.T, line string) {
	t.Helper()
	if text, ok := strings.CutPrefix(line, "nft "); ok {
		feed(t, text+"\n", "nft", "-f", "-")
		return
	}
	run(t, strings.Fields(line)...)
}

func TestOwnedTable(t *testing.T) {
	namespace(t)
	rs := firewall.Compile(policy())
	f := open(t)
	other := open(t)
	g, err := other.table.generation()
	if err != nil {
		t.Fatal(err)
	}
	tx := other.table.begin(g)
	at := tx.add(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, step{what: "own a table", rule: -1})
	tx.Text(unix.NFTA_TABLE_NAME, rs.Table)
	tx.Uint32BE(unix.NFTA_TABLE_FLAGS, netlink.FlagTableOwner)
	tx.End(at)
	if err := tx.commit(sendBatch); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(rs); err == nil || !strings.Contains(err.Error(), "firewall.table") {
		t.Errorf("error %v", err)
	}
}

func TestMaskWarning(t *testing.T) {
	namespace(t)
	run(t, "ip", "rule", "add", "priority", "1000", "fwmark", "0x20/0xff", "lookup", "7")
	run(t, "ip", "-6", "rule", "add", "priority", "1000", "fwmark", "0x20/0xff", "lookup", "7")
	run(t, "ip", "rule", "add", "priority", "1001", "fwmark", "0x100/0x100", "lookup", "7")
	f := open(t)
	apply(t, f, firewall.Compile(policy()))
	if w := f.Warnings(); len(w) != 2 || !strings.Contains(w[0], "firewall.mask") || !strings.Contains(w[0], "1000") || w[0] == w[1] {
		t.Errorf("warnings: %q", w)
	}
}

// Another program changes nftables between a read and the commit.
func TestCommitNeedsGeneration(t *testing.T) {
	namespace(t)
	f := open(t)
	g, err := f.table.generation()
	if err != nil {
		t.Fatal(err)
	}
	run(t, "nft", "add table inet others")
	tx := f.table.begin(g)
	rs := firewall.Compile(policy())
	if err := tx.replaceTable(&rs, false); err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(sendBatch); !errors.Is(err, unix.ERESTART) {
		t.Errorf("error %v", err)
	}
	if strings.Contains(kernel(t), "wirespan") {
		t.Error("the table was created")
	}
}

// A refused transaction changes nothing. The error names the rule.
func TestRefusedTransaction(t *testing.T) {
	namespace(t)
	tunnel(t, iface)
	f := open(t)
	rs := firewall.Compile(policy("10.1.0.0/16"))
	apply(t, f, rs)
	before := kernel(t)
	bad := firewall.Compile(policy("10.2.0.0/16"))
	bad.Chains = append(bad.Chains, firewall.Chain{Name: "bad", Rules: []firewall.Rule{{firewall.Counter{}}, {firewall.Jump{Chain: "nowhere"}}}})
	err := f.Apply(bad)
	if err == nil || !strings.Contains(err.Error(), "add rule 2 to chain bad (jump nowhere)") {
		t.Errorf("error %v", err)
	}
	if now := kernel(t); now != before {
		t.Errorf("changed to\n%s\nfrom\n%s", now, before)
	}
	bad.Chains[len(bad.Chains)-1].Rules = []firewall.Rule{{firewall.Masquerade{}}}
	bad.Chains[len(bad.Chains)-1].Hook = firewall.HookInput // where masquerading is not allowed
	bad.Chains[len(bad.Chains)-1].Type = firewall.TypeFilter
	if err := f.Apply(bad); err == nil || !strings.Contains(err.Error(), "masquerade") {
		t.Errorf("error %v", err)
	}
	apply(t, f, rs)
	expect(t, rs)
}

func TestNoPrivilege(t *testing.T) {
	namespace(t)
	f := open(t)
	rs := firewall.Compile(policy("10.1.0.0/16"))
	before := kernel(t)
	apply(t, f, rs)
	if err := f.Remove(rs); err != nil {
		t.Fatal(err)
	}
	dropNetAdmin(t) // of this thread, which ends with the test
	for _, f := range []*Firewall{f, open(t)} {
		err := f.Apply(rs)
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("error %v", err)
		}
	}
	if now := kernel(t); now != before {
		t.Errorf("changed to\n%s", now)
	}
}

func dropNetAdmin(t *testing.T) {
	t.Helper()
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
}

func TestExplain(t *testing.T) {
	rs := everything()
	for _, c := range []struct {
		step step
		err  error
		want string
	}{
		{step{"add rule 1 to chain nat", 5, 0}, unix.ENOENT, "nft_masq"},
		{step{"add rule 6 to chain forward", 2, 5}, unix.ENOENT, "nft_ct"},
		{step{"add chain nat", 5, -1}, unix.ENOENT, "nft_chain_nat"},
		{step{"add chain raw", 0, -1}, unix.EOPNOTSUPP, "type filter"},
		{step{"add nftables table wstest", 0, -1}, unix.EAFNOSUPPORT, "inet"},
		{step{"add nftables table wstest", 0, -1}, unix.EPERM, "CAP_NET_ADMIN"},
	} {
		if err := explainCommit(&commitError{c.step, c.err}, &rs); !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v does not say %s", c.step, err, c.want)
		}
	}
	if err := withAdvice(unix.EPROTONOSUPPORT); !errors.Is(err, errNoNftables) {
		t.Error(err)
	}
}
