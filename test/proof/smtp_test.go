package proof

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// patience is how long a client waits for any reply.
const patience = 60 * time.Second

// smtpClient is a plain SMTP client, of which each octet and its moment are known.
type smtpClient struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialSMTP(address string, secure bool) (*smtpClient, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	c := &smtpClient{conn: conn, in: bufio.NewReader(conn)}
	err = c.open(secure)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

func (c *smtpClient) open(secure bool) error {
	c.conn.SetDeadline(time.Now().Add(patience))
	if r, err := c.reply(); err != nil || r.code != 220 {
		return r.unexpected("greeting", err)
	}
	if err := c.expect(250, "EHLO sender.example.org"); err != nil || !secure {
		return err
	}
	if err := c.expect(220, "STARTTLS"); err != nil {
		return err
	}
	c.conn = tls.Client(c.conn, &tls.Config{InsecureSkipVerify: true})
	c.in.Reset(c.conn)
	return c.expect(250, "EHLO sender.example.org")
}

func (c *smtpClient) close() { c.conn.Close() }

// smtpReply is one reply, the lines of a long one joined.
type smtpReply struct {
	code int
	text string
}

func (r smtpReply) String() string { return strconv.Itoa(r.code) + " " + r.text }

// unexpected is the error of a reply that ends a conversation.
func (r smtpReply) unexpected(to string, err error) error {
	if err != nil {
		return fmt.Errorf("reply to %s: %w", to, err)
	}
	return fmt.Errorf("reply to %s: %w", to, &refusal{r})
}

// refusal is a 4xx or 5xx reply, as an error.
type refusal struct{ reply smtpReply }

func (e *refusal) Error() string { return e.reply.String() }

func (c *smtpClient) reply() (smtpReply, error) {
	var r smtpReply
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return r, err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 4 {
			return r, fmt.Errorf("not a reply: %q", line)
		}
		if r.code, err = strconv.Atoi(line[:3]); err != nil {
			return r, fmt.Errorf("not a reply: %q", line)
		}
		r.text = strings.TrimSpace(r.text + " " + line[4:])
		if line[3] == ' ' {
			return r, nil
		}
	}
}

func (c *smtpClient) write(p []byte) error {
	_, err := c.conn.Write(p)
	return err
}

func (c *smtpClient) command(line string) (smtpReply, error) {
	c.conn.SetDeadline(time.Now().Add(patience))
	if err := c.write([]byte(line + "\r\n")); err != nil {
		return smtpReply{}, err
	}
	return c.reply()
}

func (c *smtpClient) expect(code int, line string) error {
	r, err := c.command(line)
	if err != nil || r.code != code {
		return r.unexpected(line, err)
	}
	return nil
}

// manner is how a message is sent.
type manner struct {
	chunks bool // BDAT, not DATA
	pieces int  // of BDAT; at least 1
}

// hooks are called while a message is sent. end is called just before the octets that
// complete it are written: until then it cannot have been stored.
type hooks struct {
	middle func() // half of the content was written
	end    func() // the last octets will be written
	sent   func() // the last octets were written
}

func call(f func()) {
	if f != nil {
		f()
	}
}

// envelope begins a transaction and returns the recipients that were accepted, and
// the replies to the others. If none was accepted, no transaction is open.
func (c *smtpClient) envelope(size int, to ...string) (taken []string, refused map[string]smtpReply, err error) {
	return c.envelopeFrom("alice", size, to...)
}

func (c *smtpClient) envelopeFrom(from string, size int, to ...string) (taken []string, refused map[string]smtpReply, err error) {
	refused = map[string]smtpReply{}
	if err := c.expect(250, fmt.Sprintf("MAIL FROM:<%s@example.org> SIZE=%d", from, size)); err != nil {
		return nil, nil, err
	}
	for _, local := range to {
		r, err := c.command("RCPT TO:<" + address(local) + ">")
		switch {
		case err != nil:
			return nil, nil, err
		case r.code == 250:
			taken = append(taken, local)
		default:
			refused[local] = r
		}
	}
	if len(taken) == 0 {
		err = c.expect(250, "RSET")
	}
	return taken, refused, err
}

// content sends a message's content in an open transaction and returns the id in the
// reply. After an error that is no refusal the message may have been stored, if hooks.end
// was called.
func (c *smtpClient) content(m *message, how manner, h hooks) (id string, err error) {
	c.conn.SetDeadline(time.Now().Add(patience))
	if how.chunks {
		err = c.chunks(m.content, how.pieces, h)
	} else {
		err = c.data(m, h)
	}
	if err != nil {
		return "", err
	}
	return c.accepted()
}

// accepted reads the reply that ends a transaction.
func (c *smtpClient) accepted() (id string, err error) {
	r, err := c.reply()
	if err != nil {
		return "", err
	}
	_, id, found := strings.Cut(r.text, "accepted, id ")
	if r.code != 250 || !found {
		return "", r.unexpected("the content", nil)
	}
	return id, nil
}

func (c *smtpClient) data(m *message, h hooks) error {
	if err := c.expect(354, "DATA"); err != nil {
		return err
	}
	stuffed := m.stuffed()
	half := len(stuffed) / 2
	if err := c.write(stuffed[:half]); err != nil {
		return err
	}
	call(h.middle)
	if err := c.write(stuffed[half:]); err != nil {
		return err
	}
	call(h.end)
	if err := c.write([]byte(".\r\n")); err != nil {
		return err
	}
	call(h.sent)
	return nil
}

// chunks sends content by BDAT (RFC 3030). It reads the reply to each chunk but the last.
func (c *smtpClient) chunks(content []byte, pieces int, h hooks) error {
	for n := pieces; n > 1; n-- {
		piece := content[:len(content)/n]
		content = content[len(piece):]
		if err := c.write(fmt.Appendf(nil, "BDAT %d\r\n", len(piece))); err != nil {
			return err
		}
		if err := c.write(piece); err != nil {
			return err
		}
		if r, err := c.reply(); err != nil || r.code != 250 {
			return r.unexpected("BDAT", err)
		}
		call(h.middle)
	}
	head := fmt.Appendf(nil, "BDAT %d LAST\r\n", len(content))
	last := content[len(content)-1:]
	if err := c.write(append(head, content[:len(content)-1]...)); err != nil {
		return err
	}
	call(h.end)
	if err := c.write(last); err != nil {
		return err
	}
	call(h.sent)
	return nil
}

// burst sends whole transactions by BDAT in one write, and calls done with the result of
// each as it comes. Each begins with RSET, which ends an earlier one whose recipients
// were refused.
func (c *smtpClient) burst(all []*message, done func(m *message, id string, err error)) {
	var b bytes.Buffer
	for _, m := range all {
		fmt.Fprintf(&b, "RSET\r\nMAIL FROM:<alice@example.org> SIZE=%d\r\n", len(m.content))
		for _, local := range m.to {
			fmt.Fprintf(&b, "RCPT TO:<%s>\r\n", address(local))
		}
		fmt.Fprintf(&b, "BDAT %d LAST\r\n", len(m.content))
		b.Write(m.content)
	}
	c.conn.SetDeadline(time.Now().Add(patience))
	err := c.write(b.Bytes())
	var no *refusal
	for _, m := range all {
		var id string
		if err == nil {
			id, err = c.transactionReplies(len(m.to))
		}
		done(m, id, err)
		if errors.As(err, &no) {
			err = nil // the replies to the next transaction follow
		}
	}
	if no != nil && err == nil {
		c.command("RSET")
	}
}

// transactionReplies reads the replies to RSET, MAIL, each RCPT, and the content. It
// returns the first refusal, which is the cause of later ones.
func (c *smtpClient) transactionReplies(recipients int) (id string, err error) {
	var no error
	for range 2 + recipients {
		r, err := c.reply()
		if err != nil {
			return "", err
		}
		if r.code != 250 && no == nil {
			no = r.unexpected("the envelope", nil)
		}
	}
	id, err = c.accepted()
	var later *refusal
	switch {
	case no != nil && err == nil:
		return "", fmt.Errorf("accepted for others than named: %v", no)
	case no != nil && errors.As(err, &later):
		return "", no
	}
	return id, err
}
