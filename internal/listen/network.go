package listen

import "net/netip"

// Network is what one client is recognised by: one IPv4 address, or the /64 that one
// IPv6 customer commonly holds. What is counted or held by client counts in Networks.
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
	Share   int // how many times the limit of one client the network may have
}

// siteShare is how many clients' worth a /48 may have. One for a /48 would shut out an
// honest provider that gives each customer, or each of its senders, a /64 of it.
const siteShare = 4

// Networks are those in which a client counts, the narrowest first, wherever something
// is counted, delayed or held by client: its IPv4 address; or its IPv6 /64, and the /48
// around it, which is what one site is given and would else be 65,536 clients. A limit
// for one client holds for each of them, Share times: who counts looks at all before it
// counts in any.
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
