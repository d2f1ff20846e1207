package listen

import "net/netip"

// Network returns the network that stands for one client: one IPv4 address, or the /64
// that one IPv6 customer commonly holds. Limits per client count in [Networks].
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		return prefix(a, 64)
	}
	return prefix(a, 32)
}

// Counted is a network in which a client counts.
type Counted struct {
	Network netip.Prefix
	Share   int // the network may have the limit of one client this many times
}

// siteShare is the Share of a /48. A share of 1 would shut out an honest provider that
// gives each customer, or each of its senders, a /64 of it.
const siteShare = 4

// Networks returns the networks in which a client counts, the narrowest first: its IPv4
// address; or its IPv6 /64 and the /48 around it. A /48 is what one site is given, and
// would otherwise be 65,536 clients. It is used wherever something is counted, delayed or
// held per client.
//
// A limit for one client holds in each network, Share times. A caller checks all networks
// before it counts in any.
func Networks(a netip.Addr) []Counted {
	one := Counted{Network(a), 1}
	if a.Unmap().Is4() {
		return []Counted{one}
	}
	return []Counted{one, {prefix(a, 48), siteShare}}
}

func prefix(a netip.Addr, bits int) netip.Prefix {
	p, _ := a.WithZone("").Prefix(bits)
	return p
}
