package auth

import (
	"net/netip"

	"mailsrv/internal/listen"
)

// network is one that a client counts in.
type network struct {
	prefix netip.Prefix
	share  int // so many failures or places of it count as one
}

// mistakes is how many times the share of a wider network counts here. A provider may give
// as many customers one network each out of a site's, and each of them mistypes passwords:
// they are not to suffer for each other.
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
