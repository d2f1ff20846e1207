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

// Of IPv6 a site has a /48, with 65,536 networks for its clients in it. A provider may
// give as many customers one network each out of a /48, who are not to suffer for each
// other: it is given more.
const (
	siteBits  = 48
	siteShare = 16
)

// networksOf are the networks that a client counts in, the narrowest first: that by
// which clients are told apart, and of IPv6 its site.
func networksOf(client netip.Addr) []network {
	narrow := listen.Network(client)
	all := []network{{narrow, 1}}
	if narrow.Addr().Is6() {
		site, _ := narrow.Addr().Prefix(siteBits)
		all = append(all, network{site, siteShare})
	}
	return all
}
