package auth

import "mailsrv/internal/mail"

// identity is the name that a client gave: a folded address, or other text.
type identity struct {
	address mail.Address
	other   string // the name as it came, if address is zero
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
