package smtpd_test

import (
	"crypto/tls"
	"testing"
)

// noTickets fails when a server hands out a session ticket.
type noTickets struct{ t *testing.T }

func (n noTickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (n noTickets) Put(key string, state *tls.ClientSessionState) {
	if state != nil {
		n.t.Error("the server sent a session ticket")
	}
}

// Exchange Online hangs up on a ticket that comes before its own Finished.
func TestNoSessionTickets(t *testing.T) {
	w := newWorld(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := w.connect()
		c.do("STARTTLS", "220")
		config := clientTLS.Clone()
		config.MinVersion, config.MaxVersion = version, version
		config.ClientSessionCache = noTickets{t}
		secure := tls.Client(c.Conn, config)
		must(t, secure.Handshake())
		c.Conn, c.In = secure, nil
		if secure.ConnectionState().Version != version {
			t.Errorf("version %x", secure.ConnectionState().Version)
		}
		// A ticket of TLS 1.3 would come in front of the reply.
		must(t, func() error { _, err := secure.Write([]byte("NOOP\r\n")); return err }())
		reply := make([]byte, 3)
		if _, err := secure.Read(reply); err != nil || string(reply) != "503" && string(reply) != "250" {
			t.Errorf("%q, %v", reply, err)
		}
		secure.Close()
	}
}
