// Package auth proves who a client is.
package auth

import (
	"context"
	"errors"
	"net/netip"

	"mailsrv/internal/directory"
)

var (
	// ErrRefused is the one refusal for every reason: unknown name, wrong
	// password, disabled mailbox.
	ErrRefused = errors.New("wrong name or password")
	// ErrBusy: too many passwords wait to be computed; a temporary failure.
	ErrBusy = errors.New("too many logins at once")
)

// Authenticator verifies logins.
type Authenticator struct{ dir directory.Directory }

// Login returns the mailbox that name and password open.
func (a *Authenticator) Login(ctx context.Context, client netip.Addr, name, password string) (directory.Mailbox, error) {
	return directory.Mailbox{}, ErrRefused
}
