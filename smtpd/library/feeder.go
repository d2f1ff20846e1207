package library

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/refusal"
	"mailsrv/internal/wire"
)

// maxName bounds the name that a client gives itself, in octets, where an administrator
// sees it.
const maxName = 255

// feeder is a connection as go-smtp sees it. It reads ahead of go-smtp and hands it one
// command at a time. go-smtp gets DATA in place of BDAT: it would read chunks in another
// goroutine, and take a chunk that was cut off for a whole one.
//
// A connection has one feeder before STARTTLS and another after it. Only go-smtp's
// goroutine for that feeder uses it.
type feeder struct {
	*Conn
	feed   []byte           // what go-smtp reads next
	after  []byte           // the command that cut the content short; it is read next
	mute   string           // go-smtp's next line is not sent if it begins with this
	no     *refusal.Refusal // of the session; go-smtp writes it next
	handed bool             // the connection now belongs to the feeder after STARTTLS
}

// Read implements net.Conn for go-smtp.
func (f *feeder) Read(p []byte) (int, error) {
	switch {
	case f.handed, f.closed:
		return 0, io.EOF
	case len(f.feed) > 0:
		return f.serve(p), nil
	case f.chunk > 0 && !f.broken:
		// go-smtp refused the BDAT; its octets are no commands.
		if !drain(&chunkReader{c: f.Conn, single: true}, f.settings.MaxMessageSize) {
			f.hangUp = true
		}
	}
	for !f.broken {
		line := f.after
		if f.after = nil; line == nil {
			var err error
			if line, err = f.readCommand(); err != nil {
				return 0, err
			}
		}
		if f.feed = f.inspect(line); len(f.feed) > 0 {
			return f.serve(p), nil
		}
		if f.handed {
			break
		}
	}
	return 0, io.EOF
}

// serve copies what go-smtp reads next into p.
func (f *feeder) serve(p []byte) int {
	n := copy(p, f.feed)
	f.feed = f.feed[n:]
	return n
}

// inspect examines a command before go-smtp gets it. It returns the line to hand over, or
// nothing if the command has been answered.
func (f *feeder) inspect(line []byte) []byte {
	m := parseCommand(line)
	f.command = Command{Verb: m.verb}
	switch m.verb {
	case "EHLO", "HELO":
		if m.argument != "" {
			f.extended = m.verb == "EHLO"
			f.helo, _, _ = strings.Cut(m.argument, " ")
			f.base.Know(logs.Text(f.helo, maxName), "")
		}
	case "MAIL":
		path, parameters := m.path()
		f.command.Path = path
		if hasForeignKeyword(parameters) {
			f.refuse(refusal.UnknownParameter)
			return nil
		}
		m.text = clampSize(m.text)
	case "RCPT":
		path, parameters := m.path()
		f.command.Path = path
		if hasForeignKeyword(parameters) {
			f.refuse(refusal.UnknownParameter)
			return nil
		}
		if isPostmaster(path) { // go-smtp's grammar wants a domain; the bridge removes it
			m.text = "RCPT TO:<postmaster@" + f.server.config.Hostname + ">" + parameters
		}
	case "BDAT":
		if !f.beginChunk(m.argument) {
			return nil
		}
		f.beginContent()
		f.chunked = true
		f.mute = firstOfContent
		m.text = "DATA"
	case "DATA":
		f.chunked = false
	case "AUTH":
		f.refuse(refusal.NoAuth)
		return nil
	case "STARTTLS":
		f.startTLS(m.argument)
		return nil
	case "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP":
	default:
		// The session counts such lines, since go-smtp never resets its count.
		f.command = Command{}
		f.refuse(refusal.UnknownCommand)
		return nil
	}
	return []byte(m.text + "\r\n")
}

// clampSize lowers a SIZE= that 32 bits cannot hold, which go-smtp takes for a syntax
// error, to one that go-smtp refuses as too large.
func clampSize(mail string) string {
	words := strings.Fields(mail)
	for i, word := range words {
		if len(word) < 5+10 || wire.Keyword(word[:5]) != "SIZE=" || strings.Trim(word[5:], "0123456789") != "" {
			continue
		}
		if _, err := strconv.ParseUint(word[5:], 10, 32); err != nil {
			words[i] = "SIZE=4294967295"
			return strings.Join(words, " ")
		}
	}
	return mail
}

// contentEnded makes go-smtp read the end of the content, which the session has read
// already, and then the command that cut it short, if one did.
func (f *feeder) contentEnded(cut []byte) {
	f.feed, f.after = []byte(".\r\n"), cut
}

// Write gathers replies until the next read. go-smtp writes one line per call.
func (f *feeder) Write(p []byte) (int, error) {
	if f.handed {
		return len(p), nil
	}
	muted := f.mute != "" && bytes.HasPrefix(p, []byte(f.mute))
	f.mute = ""
	line := f.judge(printable(string(p)))
	if muted || f.broken { // broken: the last word has been said
		return len(p), nil
	}
	f.say(line)
	return len(p), nil
}

// judge returns the line to send in place of a line that go-smtp wrote.
func (f *feeder) judge(line string) string {
	switch {
	case !isRefusal(line):
		return f.server.rewording.say(line)
	case f.no != nil:
		no := f.no
		f.no = nil
		return f.refused(no, "")
	}
	reason, keep := refusedBy(line, f.command.Path)
	if !keep {
		line = ""
	}
	return f.refused(refusal.New(reason, ""), line)
}

// startTLS obeys STARTTLS itself: go-smtp would put TLS between itself and the feeder.
// What the client sent after the command is thrown away, since it was not protected
// (RFC 3207 section 4.2). The connection over TLS goes to go-smtp as a new one.
func (f *feeder) startTLS(argument string) {
	switch {
	case argument != "":
		f.refuse(refusal.TLSArgument)
		return
	case f.tls != "":
		f.refuse(refusal.TLSActive)
		return
	}
	f.say(replyStartTLS)
	f.in.Discard(f.in.Buffered())
	if f.flush() != nil {
		f.end("")
		return
	}
	secure := tls.Server(f.base, f.server.config.TLS)
	if err := f.shakeHands(secure); err != nil {
		if f.base.Draining() {
			f.why = replyText(replyDraining)
		} else {
			f.refused(refusal.New(refusal.TLSFailed, "TLS handshake: %v", err), "") // nobody hears it
		}
		f.end("")
		return
	}
	f.base.Acknowledge() // nothing is sent that could carry it: no ticket, no greeting
	f.session.Reset()    // RFC 3207 section 4.2: what was said before is forgotten
	f.speakOver(secure, f.server.writers)
	f.tls = listen.TLSName(secure.ConnectionState())
	f.base.Know("", f.tls)
	f.extended, f.helo = false, ""
	f.handed = true
	f.server.hand(&feeder{Conn: f.Conn, mute: "220"}) // no second greeting
}

// shakeHands makes the TLS handshake. A drain ends it, since it is no transfer.
func (f *feeder) shakeHands(secure *tls.Conn) error {
	defer f.base.SetDeadline(time.Time{})
	defer f.base.Working()
	f.base.SetWriteDeadline(time.Now().Add(f.settings.HandshakeTimeout))
	if err := f.base.AwaitCommand(f.settings.HandshakeTimeout); err != nil {
		return err
	}
	return secure.Handshake()
}

// Close implements net.Conn.
func (f *feeder) Close() error {
	if f.handed {
		return nil
	}
	return f.close()
}

// The rest of net.Conn. go-smtp's deadlines are ignored: Conn sets its own.

func (f *feeder) LocalAddr() net.Addr              { return f.base.LocalAddr() }
func (f *feeder) RemoteAddr() net.Addr             { return f.base.RemoteAddr() }
func (f *feeder) SetDeadline(time.Time) error      { return nil }
func (f *feeder) SetReadDeadline(time.Time) error  { return nil }
func (f *feeder) SetWriteDeadline(time.Time) error { return nil }

// bridge implements smtp.Session for go-smtp, from EHLO on.
type bridge struct{ f *feeder }

// hand returns a refusal of the session as an error for go-smtp, which writes it to the
// feeder.
func (b *bridge) hand(no *refusal.Refusal) *smtp.SMTPError {
	b.f.no = no
	reply := no.Reason.Reply(b.f.server.config.Hostname)
	return &smtp.SMTPError{Code: reply.Code, EnhancedCode: smtp.EnhancedCode(reply.Enhanced), Message: reply.Text}
}

// Mail implements smtp.Session.
func (b *bridge) Mail(from string, o *smtp.MailOptions) error {
	no := refusal.New(refusal.SenderBareAt, "")
	if !hasBareAt(b.f.command.Path) {
		no = b.f.session.Mail(Mail{Path: from, Size: o.Size, UTF8: o.UTF8})
	}
	if no != nil {
		return b.hand(no)
	}
	return nil
}

// Rcpt implements smtp.Session.
func (b *bridge) Rcpt(to string, _ *smtp.RcptOptions) error {
	if isPostmaster(b.f.command.Path) {
		to = "postmaster"
	}
	no := refusal.New(refusal.RecipientBareAt, "")
	if !hasBareAt(b.f.command.Path) {
		no = b.f.session.Rcpt(Rcpt{Path: to})
	}
	if no != nil {
		return b.hand(no)
	}
	return nil
}

// Data implements smtp.Session, for DATA and BDAT. It does not use go-smtp's reader.
func (b *bridge) Data(io.Reader) error {
	f := b.f
	f.beginContent()
	var from content = &dotReader{c: f.Conn}
	if f.chunked {
		from = &chunkReader{c: f.Conn}
	}
	accepted, no := f.session.Data(from)
	// A refusal may come before the end of the content, and the rest must not be read as
	// commands. With BDAT only the current chunk belongs to this reply.
	rest := from
	if f.chunked {
		rest = &chunkReader{c: f.Conn, single: true}
	}
	if !drain(rest, f.settings.MaxMessageSize) {
		f.hangUp = true
	}
	_, cut := from.finished()
	answer := &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: accepted}
	if no != nil {
		answer = b.hand(no)
	}
	if cut != nil {
		f.mute = strconv.Itoa(answer.Code) // the command that came instead is answered
	}
	f.contentEnded(cut)
	return answer
}

// Reset implements smtp.Session.
func (b *bridge) Reset() { b.f.session.Reset() }

// Logout implements smtp.Session. It does nothing: the session goes on after STARTTLS, and
// ends with the connection.
func (b *bridge) Logout() error { return nil }
