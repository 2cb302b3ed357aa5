package nft

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/firewall"
)

var errNoNftables = errors.New("the kernel has no nftables")

// withAdvice adds to an error of the kernel how to solve it, if that is known.
func withAdvice(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: it needs CAP_NET_ADMIN: run as root, or grant the capability", err)
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w (%w)", errNoNftables, err)
	}
	return err
}

// ignore returns nil for an error that is target.
func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

// explainCommit adds to the error of a refused transaction which rule or object
// it is about, and what the kernel may lack.
func explainCommit(err error, rs *firewall.Ruleset) error {
	var refused *commitError
	if !errors.As(err, &refused) {
		return withAdvice(err)
	}
	st := refused.step
	missing := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT)
	switch {
	case st.rule >= 0:
		rule := rs.Chains[st.chain].Rules[st.rule]
		err = fmt.Errorf("%s (%s): %w", st.what, rule, refused.err)
		if modules := modulesOf(rule); missing && modules != "" {
			return fmt.Errorf("%w: the kernel lacks a module that the rule needs: load %s", err, modules)
		}
	case missing && strings.HasPrefix(st.what, "add chain "):
		if kind := rs.Chains[st.chain].Type; kind == firewall.TypeNAT {
			return fmt.Errorf("%w: the kernel lacks chains of type nat: load the module nft_chain_nat", err)
		} else {
			return fmt.Errorf("%w: the kernel lacks chains of type %s in tables of family inet", err, kind)
		}
	case missing && strings.HasPrefix(st.what, "add nftables table "):
		return fmt.Errorf("%w: the kernel lacks tables of family inet (CONFIG_NF_TABLES_INET)", err)
	}
	return withAdvice(err)
}

// modulesOf returns the kernel modules that a rule needs in addition to nf_tables.
func modulesOf(rule firewall.Rule) string {
	var out []string
	add := func(names ...string) {
		for _, name := range names {
			if !strings.Contains(strings.Join(out, " "), name) {
				out = append(out, name)
			}
		}
	}
	for _, e := range rule {
		switch e := e.(type) {
		case firewall.MarkIs:
			if e.CT {
				add("nft_ct", "nf_conntrack")
			}
		case firewall.SetMark:
			if e.CT {
				add("nft_ct", "nf_conntrack")
			}
		case firewall.Direction, firewall.StateIs:
			add("nft_ct", "nf_conntrack")
		case firewall.Masquerade:
			add("nft_masq", "nft_chain_nat")
		case firewall.Counter:
			add("nft_counter")
		case firewall.ClampMSS:
			add("nft_exthdr")
		}
	}
	return strings.Join(out, ", ")
}
