package smtpd_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailsrv/delivery"
	"mailsrv/internal/directory"
	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/smtpd"
	"mailsrv/storage"
	"mailsrv/storage/memory"
	"mailsrv/storage/storagetest"
	"mailsrv/test/kit"
)

var (
	background = context.Background()
	clientTLS  = &tls.Config{InsecureSkipVerify: true}
	noLimit    quota.Limit
	loopback   = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
)

const maxMessage = 100_000

// world is a server on a store of its own: me.com with a few mailboxes, and domains
// with a catch-all and an A-label.
type world struct {
	t      testing.TB
	store  storagetest.Backend
	agent  *delivery.Agent
	server *smtpd.Server
	group  *listen.Group
	log    logs.Recorder
	addr   string
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func newWorld(t testing.TB, change ...func(*smtpd.Settings)) *world {
	t.Helper()
	return newWorldOn(t, memory.New(memory.Options{}), change...)
}

func newWorldOn(t testing.TB, store storagetest.Backend, change ...func(*smtpd.Settings)) *world {
	t.Helper()
	w := &world{t: t, store: store}
	for _, name := range []string{"me.com", "catch.example", "xn--bcher-kva.example"} {
		must(t, store.AddDomain(background, directory.Domain{Name: name}))
	}
	w.mailbox("look@me.com", noLimit)
	w.mailbox("jörg@me.com", noLimit)
	w.mailbox("small@me.com", quota.Limit{Octets: 600})
	w.mailbox("full@me.com", quota.Limit{Messages: 1})
	w.mailbox("look@xn--bcher-kva.example", noLimit)
	w.mailbox("off@me.com", noLimit)
	must(t, store.ChangeMailbox(background, address("off@me.com"), func(m *directory.Mailbox) { m.Switches = 0 }))
	w.alias("all@me.com", "look@me.com", "small@me.com")
	w.alias("tofull@me.com", "look@me.com", "full@me.com")
	must(t, store.AddAlias(background, directory.Alias{Address: mail.Address{Domain: "catch.example"}, Targets: []mail.Address{address("look@me.com")}}))

	w.agent = delivery.New(delivery.Options{Store: store, Directory: store, Hostname: "mail.me.com", Logger: logs.Discard(), Settings: delivery.Settings{MaxMessageSize: maxMessage}})
	settings := smtpd.Settings{MaxRecipients: 5, MaxMessageSize: maxMessage, CommandTimeout: 10 * time.Second, DataIdleTimeout: 10 * time.Second, MinRate: 1024, HandshakeTimeout: 10 * time.Second}
	for _, f := range change {
		f(&settings)
	}
	var certificate listen.Certificate
	certFile, keyFile, _, err := listen.SelfSigned(t.TempDir(), "mail.me.com")
	must(t, err)
	must(t, certificate.Load(certFile, keyFile))
	logger, err := logs.New(&w.log, "text", new(slog.LevelVar))
	must(t, err)
	w.group = listen.NewGroup("smtp", "421 4.7.0 too many connections\r\n", listen.Limits{Trusted: loopback}, logs.Discard())
	w.server = smtpd.New(smtpd.Config{
		Hostname: "mail.me.com", Delivery: smtpd.Through(w.agent), TLS: certificate.Config(), Logger: logger, Settings: settings,
		Group: w.group,
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(background, 5*time.Second)
		defer cancel()
		if err := w.server.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		must(t, <-served)
		w.recount()
		must(t, store.Close())
	})
	w.send("full@me.com", "x\r\n")
	kit.Await(t, "the end of that session", func() bool { return w.group.Open() == 0 })
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) recount() {
	w.t.Helper()
	if n, err := w.store.Check(background, false, func(f storage.Finding) { w.t.Error(f) }); n > 0 || err != nil {
		w.t.Errorf("check: %d findings, %v", n, err)
	}
}

func (w *world) mailbox(name string, limit quota.Limit) {
	w.t.Helper()
	_, err := w.store.AddMailbox(background, directory.Mailbox{Address: address(name).Fold(), Switches: directory.AllOn, Policy: directory.Policy{Limit: limit}})
	must(w.t, err)
}

func (w *world) alias(name string, targets ...string) {
	w.t.Helper()
	a := directory.Alias{Address: address(name)}
	for _, target := range targets {
		a.Targets = append(a.Targets, address(target))
	}
	must(w.t, w.store.AddAlias(background, a))
}

// messages returns what a mailbox holds, whole.
func (w *world) messages(name string) []string {
	w.t.Helper()
	found, err := w.store.Lookup(background, address(name))
	must(w.t, err)
	drop, err := w.store.OpenMaildrop(background, found.Mailbox.ID)
	must(w.t, err)
	entries, err := storage.AllEntries(background, drop)
	must(w.t, err)
	var all []string
	for _, e := range entries {
		m, err := drop.Message(background, e, 0)
		must(w.t, err)
		var text strings.Builder
		for {
			piece, err := m.Next(background)
			if err != nil {
				break
			}
			text.Write(piece)
		}
		m.Close()
		if int64(text.Len()) != e.Octets {
			w.t.Errorf("a message has %d octets, its entry says %d", text.Len(), e.Octets)
		}
		all = append(all, text.String())
	}
	return all
}

// content returns a stored message without the trace fields.
func content(message string) string {
	_, rest, _ := strings.Cut(message, "Received: ")
	_, rest, _ = strings.Cut(rest, "\r\n\t")
	for {
		line, after, _ := strings.Cut(rest, "\r\n")
		rest = after
		if strings.HasSuffix(line, "+0000") {
			return rest
		}
	}
}

// client is the kit's, by the names that the tests of this room use.
type client struct{ *kit.Client }

func (c *client) say(text string)                { c.T.Helper(); c.Say(text) }
func (c *client) do(command, code string) string { c.T.Helper(); return c.Do(command, code) }
func (c *client) want(code string) string        { c.T.Helper(); return c.Want(code) }

// connect returns a client that has had its greeting and said HELO.
func (w *world) connect() *client {
	w.t.Helper()
	c := &client{kit.Dial(w.t, w.addr)}
	c.want("220")
	c.do("HELO client.example", "250")
	return c
}

// wantEnd expects the end of the connection, with nothing before it.
func (c *client) wantEnd() {
	c.T.Helper()
	if said, err := c.End(); said != "" {
		c.T.Fatalf("got %q, %v; want the end", said, err)
	}
}

func (c *client) startTLS() {
	c.T.Helper()
	c.do("STARTTLS", "220")
	c.Secure()
	c.do("EHLO client.example", "250")
}

func (c *client) envelope(to ...string) {
	c.T.Helper()
	c.do("MAIL FROM:<alice@example.org>", "250")
	for _, name := range to {
		c.do("RCPT TO:<"+name+">", "250")
	}
}

// send delivers one message by DATA; text is as on the wire, without the end.
func (w *world) send(to, text string) {
	w.t.Helper()
	c := w.connect()
	c.envelope(to)
	c.do("DATA", "354")
	c.say(text + ".\r\n")
	c.want("250 2.0.0 accepted")
	c.do("QUIT", "221")
	c.Close()
}
