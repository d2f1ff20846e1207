package kit

import (
	"io"
	"net"
	"net/smtp"
	"time"
)

// Send sends a message by SMTP from you@example.org to one recipient, and returns nil once
// it is accepted. A refusal is a *textproto.Error, whose text begins with the code. Send
// is safe for concurrent use.
func Send(address, to, content string) error {
	conn, err := net.DialTimeout("tcp", address, Patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(Patience)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := c.Mail("you@example.org"); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	data, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(data, content); err != nil {
		return err
	}
	if err := data.Close(); err != nil {
		return err
	}
	c.Quit() // the message is accepted, whatever comes of this
	return nil
}
