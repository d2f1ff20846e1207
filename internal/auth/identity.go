package auth

import "mailsrv/internal/mail"

// identity is what a client calls itself: an address, folded, or what is none.
type identity struct {
	address mail.Address
	other   string // as it came, where address is zero
}

func identify(name string) identity {
	if address, err := mail.ParseAddress(name); err == nil {
		return identity{address: address.Fold()}
	}
	return identity{other: name}
}

func (i identity) String() string {
	if i.address.IsZero() {
		return i.other
	}
	return i.address.String()
}
