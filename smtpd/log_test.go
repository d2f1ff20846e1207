package smtpd_test

import (
	"context"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mailsrv/smtpd"
	"mailsrv/test/kit"
)

// lines returns the lines of the log with an event, what changes from run to run
// cut away.
func (w *world) lines(event string) []string {
	w.t.Helper()
	var found []string
	for line := range strings.Lines(w.log.String()) {
		if _, rest, ok := strings.Cut(strings.TrimSpace(line), ` msg=`+event+` proto=smtp client=127.0.0.1 `); ok {
			found = append(found, rest)
		}
	}
	return found
}

// Whatever is refused leaves one line that says who was refused what, and why.
func TestEachRefusalIsLogged(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		name string
		do   func(c *client)
		want string // the line: helo, the id cut away, and the rest
	}{
		{"EHLO without a name", func(c *client) { c.do("EHLO", "501") },
			`helo=client.example from="" to="" reply=501 code=no-name reason="EHLO and HELO take the name of the client"`},
		{"unknown command", func(c *client) { c.do("FOO", "500") },
			`helo=client.example from="" to="" reply=500 code=unknown-command reason="Command not recognised"`},
		{"EXPN", func(c *client) { c.do("EXPN all", "502") },
			`helo=client.example from="" to="" reply=502 code=not-implemented reason="EXPN command not implemented"`},
		{"AUTH", func(c *client) { c.do("AUTH PLAIN AGEAYg==", "502") },
			`helo=client.example from="" to="" reply=502 code=no-auth reason="AUTH is not offered here"`},
		{"reverse-path without domain", func(c *client) { c.do("MAIL FROM:<root>", "501") },
			`helo=client.example from=root to="" reply=501 code=sender-without-domain reason="The reverse-path has no domain: write <name@domain>"`},
		{"malformed reverse-path", func(c *client) { c.do("MAIL FROM:<a@exam ple.org>", "501") },
			`helo=client.example from="a@exam ple.org" to="" reply=501 code=syntax reason="Was expecting MAIL arg syntax of FROM:<address>"`},
		{"bad reverse-path", func(c *client) { c.do("MAIL FROM:<a@example..org>", "501") },
			`helo=client.example from=a@example..org to="" reply=501 code=bad-sender reason="bad address: \"example..org\" is not a domain name"`},
		{"terminal sequence", func(c *client) { c.do("MAIL FROM:<\"\x1b[31m\u202e\"@example.org>", "501") },
			`helo=client.example from="\"?[31m?\"@example.org" to="" reply=501 code=bad-sender reason="bad address: control characters or broken UTF-8 in the local part"`},
		{"no SMTPUTF8", func(c *client) { c.do("MAIL FROM:<jörg@example.org>", "553") },
			`helo=client.example from=jörg@example.org to="" reply=553 code=needs-smtputf8 reason="An address beyond ASCII needs SMTPUTF8"`},
		{"parameter", func(c *client) { c.do("MAIL FROM:<a@example.org> FOO=1", "555") },
			`helo=client.example from=a@example.org to="" reply=555 code=unknown-parameter reason="Parameter not recognised"`},
		{"BINARYMIME", func(c *client) { c.do("MAIL FROM:<a@example.org> BODY=BINARYMIME", "504") },
			`helo=client.example from=a@example.org to="" reply=504 code=parameter-not-supported reason="BINARYMIME is not implemented"`},
		{"SIZE", func(c *client) { c.do("MAIL FROM:<a@example.org> SIZE=5000000000", "552") },
			`helo=client.example from=a@example.org to="" reply=552 code=too-large reason="The message is too large"`},
		{"relaying", func(c *client) {
			c.do("MAIL FROM:<a@example.org>", "250")
			c.do("RCPT TO:<b@elsewhere.example>", "550")
		}, `helo=client.example ID from=a@example.org to=b@elsewhere.example reply=550 code=not-hosted reason="b@elsewhere.example: domain is not hosted here"`},
		{"nested", func(c *client) {
			c.do("MAIL FROM:<a@example.org>", "250")
			c.do("MAIL FROM:<b@example.org>", "503")
		}, `helo=client.example ID from=b@example.org to="" reply=503 code=nested reason="A mail transaction is open already; RSET ends it"`},
		{"DATA without recipients", func(c *client) {
			c.do("MAIL FROM:<a@example.org>", "250")
			c.do("DATA", "503")
		}, `helo=client.example ID from=a@example.org to="" reply=503 code=no-recipients reason="No recipient has been accepted"`},
		{"forward-path", func(c *client) {
			c.do("MAIL FROM:<>", "250")
			c.do("RCPT TO:<look> NOTIFY=NEVER", "501")
		}, `helo=client.example ID from="" to=look reply=501 code=recipient-without-domain reason="The forward-path has no domain: write <name@domain>"`},
		{"RCPT parameter", func(c *client) {
			c.do("MAIL FROM:<a@example.org>", "250")
			c.do("RCPT TO:<look@me.com> NOTIFY=NEVER", "504")
		}, `helo=client.example ID from=a@example.org to=look@me.com reply=504 code=parameter-not-supported reason="NOTIFY is not implemented"`},
		{"too many recipients", func(c *client) {
			c.envelope("look@me.com", "LOOK@me.com", "look+1@me.com", "look+2@me.com", "look+3@me.com")
			c.do("RCPT TO:<look+4@me.com>", "452")
		}, `helo=client.example ID from=alice@example.org to=look+4@me.com reply=452 code=too-many-recipients reason="Too many recipients, send to the others in another transaction"`},
		{"DATA with an argument", func(c *client) {
			c.envelope("look@me.com")
			c.do("DATA now", "501")
		}, `helo=client.example ID from=alice@example.org to="" reply=501 code=syntax reason="DATA command should not have any arguments"`},
		{"content too large", func(c *client) {
			c.envelope("look@me.com")
			c.do("DATA", "354")
			c.say(strings.Repeat("x", maxMessage) + "\r\n.\r\n")
			c.want("552")
		}, `helo=client.example ID from=alice@example.org to=look@me.com reply=552 code=too-large reason="more than 100000 octets"`},
		{"chunks given up", func(c *client) {
			c.envelope("look@me.com")
			c.say("BDAT 3\r\nabcRSET\r\n")
			c.want("250")
			c.want("250")
		}, `helo=client.example ID from=alice@example.org to=look@me.com reply=451 code=incomplete reason="read the content: the content did not arrive whole: the client gave up the message"`},
		{"HELO too long", func(c *client) {
			c.do("HELO "+strings.Repeat("h", 2000), "250")
			c.do("FOO", "500")
		}, `helo=` + strings.Repeat("h", 255) + `… from="" to="" reply=500 code=unknown-command reason="Command not recognised"`},
	} {
		before := len(w.lines("refused"))
		c := w.connect()
		test.do(c)
		c.do("QUIT", "221")
		c.wantEnd()
		got := w.lines("refused")[before:]
		if len(got) != 1 || withoutID(got[0]) != test.want {
			t.Errorf("%s: logged %q, want %q", test.name, got, test.want)
		}
	}
}

// withoutID puts ID for the id of a message, which is another in each run.
func withoutID(line string) string {
	before, after, found := strings.Cut(line, " id=")
	if !found {
		return line
	}
	_, after, _ = strings.Cut(after, " ")
	return before + " ID " + after
}

// The last line of a session counts everything, also what came before STARTTLS,
// and says why the server ended it.
func TestSessionEndCountsAll(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.do("MAIL FROM:<root>", "501")
	c.startTLS()
	c.envelope("look@me.com")
	c.do("RCPT TO:<nobody@me.com>", "550")
	deliverBy(c, "\r\n")
	for range 3 {
		c.do("", "500")
	}
	c.do("", "421 4.7.0")
	c.wantEnd()
	newIdle(t, w).Close() // a connection without EHLO has an end too
	for _, want := range []string{
		`^messages=1 refused=6 duration=\S+ reason="Too many errors, closing connection"$`,
		`^messages=0 refused=0 duration=\S+$`,
	} {
		form := regexp.MustCompile(want)
		kit.Await(t, want, func() bool { return slices.ContainsFunc(w.lines(`"session end"`), form.MatchString) })
	}
}

// A client that sends mail is no guesser, whatever it sends between its messages.
func TestAcceptedMessageResetsMistakes(t *testing.T) {
	w := newWorld(t, func(s *smtpd.Settings) { s.MaxRecipients = 100 })
	c := w.connect()
	for range 10 {
		c.envelope("look@me.com")
		for range 10 {
			c.do("RCPT TO:<nobody@me.com>", "550")
		}
		deliverBy(c, "\r\n")
		c.do("", "500") // the empty line after the final dot
		c.do("NOOP "+strings.Repeat("x", 2100), "500")
		c.do("NOOP "+strings.Repeat("x", 2100), "500")
	}
	c.do("QUIT", "221")
}

// A connection has one end, and what comes behind QUIT is not obeyed.
func TestQuitEndsTheSession(t *testing.T) {
	w := newWorld(t)
	kit.Await(t, "newWorld's own sessions", func() bool { return len(w.lines(`"session end"`)) > 0 })
	before := len(w.lines(`"session end"`))
	c := newIdle(t, w)
	c.say("EHLO client.example\r\nQUIT\r\nEHLO again.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<look@me.com>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n")
	c.want("250")
	c.want("221")
	c.wantEnd()
	w.drained()
	if ends := len(w.lines(`"session end"`)) - before; ends != 1 {
		t.Errorf("%d ends of one session", ends)
	}
	if text := w.log.String(); strings.Contains(text, "level=ERROR") || len(w.messages("look@me.com")) > 0 {
		t.Errorf("something was obeyed: %s", text)
	}
}

// One connection neither fills the log nor goes on for ever out of order.
func TestRefusalsOfAConnectionAreBounded(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.say(strings.Repeat("DATA\r\n", 100))
	for range 100 {
		c.want("503")
	}
	c.do("DATA", "421 4.7.0")
	c.wantEnd()

	c = w.connect()
	c.envelope("look@me.com", "LOOK@me.com", "look+1@me.com", "look+2@me.com", "look+3@me.com")
	before := len(w.lines("refused"))
	const many = 1500
	go c.Write([]byte(strings.Repeat("RCPT TO:<look+4@me.com>\r\n", many)))
	for range many {
		c.want("452")
	}
	c.do("QUIT", "221")
	if n := len(w.lines("refused")) - before; n != 1000 {
		t.Errorf("%d lines for %d refusals", n, many)
	}
	kit.Await(t, "the count of all", func() bool { return strings.Contains(w.log.String(), "refused=1500 ") })
}

// A message that comes in chunks may go on while the server drains, and is held to the
// pace of content between them.
func TestChunksAreOneTransfer(t *testing.T) {
	w := newWorld(t)
	busy := w.connect()
	busy.envelope("look@me.com")
	busy.say("BDAT 4\r\nA: b")
	busy.want("250")
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(background, 30*time.Second)
		defer cancel()
		done <- w.server.Shutdown(ctx)
	}()
	kit.Await(t, "the drain", func() bool {
		c, err := net.Dial("tcp", w.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	busy.say("BDAT 2 LAST\r\n\r\n")
	busy.want("250 2.0.0 accepted")
	busy.want("421 4.3.2")
	must(t, <-done)

	slow := newWorld(t, func(s *smtpd.Settings) { s.DataIdleTimeout = 50 * time.Millisecond })
	c := slow.connect()
	c.envelope("look@me.com")
	c.say("BDAT 4\r\nA: b")
	c.want("250")
	c.want("421 4.4.2")
	c.wantEnd()
}

// The clock of silence runs from the last octet of the content: neither commands between
// two chunks nor chunks of no octets wind it up again.
func TestCommandsBetweenChunksRenewNothing(t *testing.T) {
	const idle = time.Second
	w := newWorld(t, func(s *smtpd.Settings) { s.DataIdleTimeout = idle })
	for _, again := range []string{"NOOP\r\n", "BDAT 0\r\n", "VRFY x\r\n"} {
		c := w.connect()
		c.envelope("look@me.com")
		c.say("BDAT 4\r\nA: b")
		c.want("250")
		begun := time.Now()
		for {
			line := c.do(strings.TrimSuffix(again, "\r\n"), "")
			if strings.HasPrefix(line, "421 4.4.2") {
				break
			}
			if time.Since(begun) > 5*idle {
				t.Errorf("%.10q every now and then holds the message", again)
				break
			}
			time.Sleep(idle / 10)
		}
		c.Close()
	}
}
