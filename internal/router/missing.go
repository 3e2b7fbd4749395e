package router

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
)

// ErrKernel: the kernel lacks what routers need.
var ErrKernel = errors.New("the kernel lacks what routers need")

// missing says in words what of nf_tables the kernel has not, if that is why a change
// failed.
func missing(ns netns.NsHandle, err error) error {
	var lacks []string
	for _, f := range features() {
		if tryFeature(ns, f) != nil {
			lacks = append(lacks, f.name)
		}
	}
	if len(lacks) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s: load or build these modules: %w", ErrKernel, strings.Join(lacks, ", "), err)
}

// feature is a part of nf_tables that is a kernel module of its own.
type feature struct {
	name string
	kind nftables.ChainType
	hook *nftables.ChainHook
	rule rule
}

func features() []feature {
	nat, filter := nftables.ChainTypeNAT, nftables.ChainTypeFilter
	return []feature{
		{"nf_tables (CONFIG_NF_TABLES_INET)", filter, nftables.ChainHookForward, newRule()},
		{"nft_chain_nat (CONFIG_NFT_NAT, CONFIG_NF_NAT)", nat, nftables.ChainHookPrerouting, newRule()},
		{
			"nft_ct (CONFIG_NFT_CT, CONFIG_NF_CONNTRACK)", filter, nftables.ChainHookForward,
			newRule(state(expr.CtStateBitESTABLISHED, "established"), verdict(expr.VerdictAccept)),
		},
		{"nft_nat (CONFIG_NFT_NAT)", nat, nftables.ChainHookPostrouting, newRule(ipv4(), snat(netip.AddrFrom4([4]byte{192, 0, 2, 1})))},
		{"nft_redir (CONFIG_NFT_REDIR)", nat, nftables.ChainHookPrerouting, newRule(tcpPort(80), redirect(8080))},
	}
}

// tryFeature makes a table of its own with the feature in it, in a batch that is taken back.
func tryFeature(ns netns.NsHandle, f feature) error {
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return err
	}
	t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName + "-probe"})
	ch := c.AddChain(&nftables.Chain{Name: "probe", Table: t, Type: f.kind, Hooknum: f.hook, Priority: nftables.ChainPriorityLast})
	if len(f.rule.exprs) > 0 {
		c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: f.rule.exprs})
	}
	c.DelTable(t)
	return c.Flush()
}
