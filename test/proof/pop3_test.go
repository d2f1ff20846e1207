package proof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// pop3Client speaks POP3.
type pop3Client struct {
	conn net.Conn
	in   *bufio.Reader
}

// listed is one message as in LIST and UIDL.
type listed struct {
	number int
	octets int
	uidl   string
}

func dialPOP3(server, local string) (*pop3Client, error) {
	conn, err := net.DialTimeout("tcp", server, patience)
	if err != nil {
		return nil, err
	}
	c := &pop3Client{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	if _, err = c.line(); err == nil {
		if _, err = c.command("USER " + address(local)); err == nil {
			_, err = c.command("PASS " + password)
		}
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("login of %s: %w", local, err)
	}
	return c, nil
}

// visit logs in and lists the maildrop.
func visit(server, local string) (*pop3Client, []listed, error) {
	c, err := dialPOP3(server, local)
	if err != nil {
		return nil, nil, err
	}
	all, err := c.list()
	if err != nil {
		c.close()
		return nil, nil, err
	}
	return c, all, nil
}

func (c *pop3Client) close() { c.conn.Close() }

// denial is an -ERR reply, as an error.
type denial string

func (e denial) Error() string { return string(e) }

// inUse reports whether a login was refused since another session has the maildrop.
func inUse(err error) bool {
	var no denial
	return errors.As(err, &no) && strings.Contains(string(no), "[IN-USE]")
}

// line reads the line that begins a reply and returns what follows "+OK".
func (c *pop3Client) line() (string, error) {
	c.conn.SetDeadline(time.Now().Add(patience))
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	text := strings.TrimRight(line, "\r\n")
	if rest, ok := strings.CutPrefix(text, "+OK"); ok {
		return strings.TrimSpace(rest), nil
	}
	return "", denial(text)
}

func (c *pop3Client) send(line string) error {
	c.conn.SetDeadline(time.Now().Add(patience))
	_, err := c.conn.Write([]byte(line + "\r\n"))
	return err
}

func (c *pop3Client) command(line string) (string, error) {
	if err := c.send(line); err != nil {
		return "", err
	}
	return c.line()
}

// lines sends a command and returns its reply of several lines, without dot-stuffing.
func (c *pop3Client) lines(command string) ([]byte, error) {
	if _, err := c.command(command); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	for {
		line, err := c.in.ReadSlice('\n')
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s broke off: %w", command, err)
		case string(line) == ".\r\n":
			return text.Bytes(), nil
		}
		text.Write(bytes.TrimPrefix(line, []byte(".")))
	}
}

// stat returns messages and octets.
func (c *pop3Client) stat() (messages, octets int, err error) {
	text, err := c.command("STAT")
	if err == nil {
		_, err = fmt.Sscan(text, &messages, &octets)
	}
	return messages, octets, err
}

// list returns the messages of the maildrop.
func (c *pop3Client) list() ([]listed, error) {
	sizes, err := c.lines("LIST")
	if err != nil {
		return nil, err
	}
	names, err := c.lines("UIDL")
	if err != nil {
		return nil, err
	}
	var all []listed
	uidls := strings.Fields(string(names)) // number, UIDL, number, UIDL, …
	for i, fields := 0, strings.Fields(string(sizes)); i+1 < len(fields); i += 2 {
		if i+1 >= len(uidls) || uidls[i] != fields[i] {
			return nil, fmt.Errorf("LIST and UIDL differ at %d", i/2+1)
		}
		number, _ := strconv.Atoi(fields[i])
		octets, _ := strconv.Atoi(fields[i+1])
		if number != len(all)+1 {
			return nil, fmt.Errorf("LIST counts %d after %d", number, len(all))
		}
		all = append(all, listed{number: number, octets: octets, uidl: uidls[i+1]})
	}
	return all, nil
}

// retr fetches a message and compares its size with the one listed.
func (c *pop3Client) retr(m listed) ([]byte, error) {
	stored, err := c.lines("RETR " + strconv.Itoa(m.number))
	if err == nil && len(stored) != m.octets {
		err = fmt.Errorf("RETR gives %d octets, LIST says %d", len(stored), m.octets)
	}
	return stored, err
}

func (c *pop3Client) dele(m listed) error {
	_, err := c.command("DELE " + strconv.Itoa(m.number))
	return err
}

// quit sends QUIT, then calls sent, and waits for the answer.
func (c *pop3Client) quit(sent func()) error {
	if err := c.send("QUIT"); err != nil {
		return err
	}
	call(sent)
	_, err := c.line()
	return err
}
