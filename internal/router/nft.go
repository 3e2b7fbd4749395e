package router

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netns"
)

// ensureRules makes the router's table what is wanted, in one transaction that touches the
// chains and map elements that differ, and reports whether any did. Flows that are already
// translated do not notice: the kernel consults rules for a flow's first packet only.
func ensureRules(ns netns.NsHandle, want *ruleset) (changed bool, err error) {
	c, err := nftables.New(nftables.WithNetNSFd(int(ns)), nftables.AsLasting())
	if err != nil {
		return false, fmt.Errorf("open nf_tables: %w", err)
	}
	defer func() { _ = c.CloseLasting() }()
	have, err := readTable(c)
	if err != nil {
		return false, fmt.Errorf("read table %s: %w", tableName, err)
	}
	t := have.table
	if have.misshapen(want) {
		c.DelTable(t)
		have, changed = &kernelTable{}, true
	}
	if have.table == nil {
		t = c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: tableName})
		changed = true
	}
	outs := map[netip.Addr]netip.Addr{}
	for floating, fixed := range want.floating {
		outs[fixed] = floating
	}
	for name, elements := range map[string]map[netip.Addr]netip.Addr{mapIn: want.floating, mapOut: outs} {
		did, err := ensureMap(c, t, name, have.maps[name], elements)
		if err != nil {
			return false, fmt.Errorf("map %s: %w", name, err)
		}
		changed = changed || did
	}
	for i := range want.chains {
		if ensureChain(c, t, &want.chains[i], have.chains[want.chains[i].name]) {
			changed = true
		}
	}
	for name, ch := range have.chains {
		if !slices.ContainsFunc(want.chains, func(w chain) bool { return w.name == name }) {
			c.FlushChain(ch.chain)
			c.DelChain(ch.chain)
			changed = true
		}
	}
	if !changed {
		return false, nil
	}
	if err := c.Flush(); err != nil {
		return false, missing(ns, fmt.Errorf("change table %s: %w", tableName, err))
	}
	return true, nil
}

// kernelTable is the table as the kernel has it.
type kernelTable struct {
	table  *nftables.Table // nil = none
	chains map[string]kernelChain
	maps   map[string]map[netip.Addr]netip.Addr // nil = no such map
	other  bool                                 // a set that is not ours to have
}

type kernelChain struct {
	chain *nftables.Chain
	texts []string // of the rules, in order; "" for one that we did not make
}

func readTable(c *nftables.Conn) (*kernelTable, error) {
	k := &kernelTable{chains: map[string]kernelChain{}, maps: map[string]map[netip.Addr]netip.Addr{}}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == tableName })
	if i < 0 {
		return k, nil
	}
	k.table = tables[i]
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	for _, ch := range chains {
		if ch.Table.Name != tableName {
			continue
		}
		rules, err := c.GetRules(k.table, ch)
		if err != nil {
			return nil, fmt.Errorf("chain %s: %w", ch.Name, err)
		}
		kc := kernelChain{chain: ch}
		for _, r := range rules {
			text, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			kc.texts = append(kc.texts, text)
		}
		k.chains[ch.Name] = kc
	}
	return k, k.readMaps(c)
}

func (k *kernelTable) readMaps(c *nftables.Conn) error {
	sets, err := c.GetSets(k.table)
	if err != nil {
		return err
	}
	for _, s := range sets {
		if s.Name != mapIn && s.Name != mapOut {
			k.other = true
			continue
		}
		elements, err := c.GetSetElements(s)
		if err != nil {
			return fmt.Errorf("map %s: %w", s.Name, err)
		}
		m := make(map[netip.Addr]netip.Addr, len(elements))
		for _, e := range elements {
			from, ok1 := netip.AddrFromSlice(e.Key)
			to, ok2 := netip.AddrFromSlice(e.Val)
			if !ok1 || !ok2 {
				k.other = true
				continue
			}
			m[from] = to
		}
		k.maps[s.Name] = m
	}
	return nil
}

// misshapen: the table cannot be changed into what is wanted, only made anew.
func (k *kernelTable) misshapen(want *ruleset) bool {
	if k.table == nil {
		return false
	}
	if k.other {
		return true
	}
	return slices.ContainsFunc(want.chains, func(w chain) bool {
		have, there := k.chains[w.name]
		if !there {
			return false
		}
		h := have.chain
		return h.Type != w.kind || h.Hooknum == nil || *h.Hooknum != w.hook || h.Priority == nil || *h.Priority != w.priority ||
			h.Policy == nil || *h.Policy != nftables.ChainPolicyAccept
	})
}

func ensureMap(c *nftables.Conn, t *nftables.Table, name string, have, want map[netip.Addr]netip.Addr) (changed bool, err error) {
	set := &nftables.Set{Table: t, Name: name, IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeIPAddr}
	if have == nil {
		if err = c.AddSet(set, nil); err != nil {
			return false, err
		}
		changed = true
	}
	var gone, fresh []nftables.SetElement
	for _, from := range slices.SortedFunc(maps.Keys(have), netip.Addr.Compare) {
		if to := have[from]; want[from] != to {
			gone = append(gone, nftables.SetElement{Key: from.AsSlice(), Val: to.AsSlice()})
		}
	}
	for _, from := range slices.SortedFunc(maps.Keys(want), netip.Addr.Compare) {
		if to := want[from]; have[from] != to {
			fresh = append(fresh, nftables.SetElement{Key: from.AsSlice(), Val: to.AsSlice()})
		}
	}
	if len(gone) > 0 {
		if err = c.SetDeleteElements(set, gone); err != nil {
			return false, err
		}
	}
	if len(fresh) > 0 {
		if err = c.SetAddElements(set, fresh); err != nil {
			return false, err
		}
	}
	return changed || len(gone)+len(fresh) > 0, nil
}

func ensureChain(c *nftables.Conn, t *nftables.Table, want *chain, have kernelChain) (changed bool) {
	texts := make([]string, len(want.rules))
	for i := range want.rules {
		texts[i] = want.rules[i].text
	}
	if have.chain != nil && slices.Equal(have.texts, texts) {
		return false
	}
	policy := nftables.ChainPolicyAccept
	ch := &nftables.Chain{Name: want.name, Table: t, Type: want.kind, Hooknum: &want.hook, Priority: &want.priority, Policy: &policy}
	if have.chain == nil {
		c.AddChain(ch)
	} else {
		c.FlushChain(ch)
	}
	for i := range want.rules {
		c.AddRule(&nftables.Rule{
			Table: t, Chain: ch, Exprs: want.rules[i].exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, want.rules[i].text),
		})
	}
	return true
}
