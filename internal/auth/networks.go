package auth

import (
	"net/netip"

	"mailsrv/internal/listen"
)

// network is a network in which a client counts.
type network struct {
	prefix netip.Prefix
	share  int // this many failures or places of the network count as one
}

// mistakes multiplies the share of a site. A provider may give each of its customers one
// network of a site's, and each customer mistypes passwords: they must not suffer for each
// other.
const mistakes = 4

// networksOf returns the networks in which a client counts, the narrowest first.
func networksOf(client netip.Addr) (all []network) {
	for _, counted := range listen.Networks(client) {
		n := network{counted.Network, counted.Share}
		if n.share > 1 {
			n.share *= mistakes
		}
		all = append(all, n)
	}
	return all
}
