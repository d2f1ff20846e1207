package pop3d

import "github.com/emersion/go-sasl"

// loginServer is the server side of LOGIN (draft-murchison-sasl-login-00), which old
// clients prefer to PLAIN: it asks for the name, then for the password.
type loginServer struct {
	authenticate sasl.PlainAuthenticator
	name         *string // once given
	done         bool
}

var _ sasl.Server = (*loginServer)(nil)

// Next takes the name, which may come as the initial response, and then the password.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case l.done:
		return nil, false, sasl.ErrUnexpectedClientResponse
	case response == nil:
		return []byte("Username:"), false, nil
	case l.name == nil:
		name := string(response)
		l.name = &name
		return []byte("Password:"), false, nil
	}
	l.done = true
	return nil, true, l.authenticate("", *l.name, string(response))
}
