package admin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"mailsrv/internal/admin"
	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/memory"
)

// foreignHash is a hash from another system. It spares the tests the cost of argon2id.
const foreignHash = "$5$rounds=1000$saltsalt$CWJMHmfgpSEIGI0CJSKSHfgbPLhbsb7XiaSdPJq37kC"

var server = quota.Limit{Octets: 1 << 20, Messages: quota.Unlimited}

type fixture struct {
	*admin.Admin
	store *memory.Store
	log   *bytes.Buffer
	ctx   context.Context
	t     *testing.T
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	ctx := context.Background()
	store := memory.New(memory.Options{})
	t.Cleanup(func() {
		n, err := store.Check(ctx, false, func(f storage.Finding) { t.Log(f) })
		if n != 0 || err != nil {
			t.Errorf("check: %d findings, %v", n, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	log := &bytes.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	return &fixture{&admin.Admin{Directory: store, Store: store, Limit: server, Logger: logger}, store, log, ctx, t}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// refused fails unless err says want and wraps cause.
func (f *fixture) refused(err, cause error, want string) {
	f.t.Helper()
	if err == nil {
		f.t.Fatalf("no error; want %s", want)
	}
	if err.Error() != want {
		f.t.Errorf("got  %v\nwant %s", err, want)
	}
	if cause != nil && !errors.Is(err, cause) {
		f.t.Errorf("%v is not %v", err, cause)
	}
}

// hosts adds domains and mailboxes, and discards what was logged of that.
func (f *fixture) hosts(names ...string) {
	f.t.Helper()
	for _, name := range names {
		var err error
		if strings.Contains(name, "@") {
			_, err = f.AddMailbox(f.ctx, name, admin.Secret{Hash: foreignHash}, admin.MailboxChange{})
		} else {
			_, err = f.AddDomain(f.ctx, name, admin.DomainChange{})
		}
		f.must(err)
	}
	f.log.Reset()
}

// deliver adds n messages to a mailbox and returns their UIDLs.
func (f *fixture) deliver(address string, n int) (uidls []string) {
	f.t.Helper()
	m, err := f.Mailbox(f.ctx, address)
	f.must(err)
	for i := range n {
		body, err := f.store.NewBody(f.ctx, 0)
		f.must(err)
		_, err = fmt.Fprintf(body, "Subject: %d\r\n\r\ntext\r\n", i)
		f.must(err)
		id := fmt.Sprintf("uidl%d", i)
		_, err = f.store.Deliver(f.ctx, &storage.Delivery{
			ID: id, Trace: "Received: x\r\n", Body: body,
			To: []storage.Recipient{{Mailbox: m.ID, Own: "Delivered-To: " + address + "\r\n"}},
		})
		f.must(err)
		body.Discard()
		uidls = append(uidls, id)
	}
	return uidls
}

func TestDomains(t *testing.T) {
	f := setUp(t)
	d, err := f.AddDomain(f.ctx, "ME.com.", admin.DomainChange{})
	f.must(err)
	if d.Name != "me.com" || !d.Serving.IsZero() || d.Effective.Limit != server {
		t.Errorf("got %+v", d)
	}
	_, err = f.AddDomain(f.ctx, "me.com", admin.DomainChange{})
	f.refused(err, directory.ErrExists, "me.com is hosted here already: change it with: mailsrv domain set me.com")
	_, err = f.AddDomain(f.ctx, "look@me.com", admin.DomainChange{})
	f.refused(err, nil, `"look@me.com" is an address: write its domain alone, me.com`)
	_, err = f.AddDomain(f.ctx, "me com", admin.DomainChange{})
	f.refused(err, nil, `"me com" is not a domain name: write one such as me.com`)

	f.hosts("look@me.com", "second@me.com")
	octets, postmaster := int64(500), "second@me.com"
	d, err = f.SetDomain(f.ctx, "me.com", admin.DomainChange{Postmaster: &postmaster, Limit: admin.LimitChange{Octets: &octets}})
	f.must(err)
	if d.Serving.String() != postmaster || d.Mailboxes != 2 || d.Effective.Limit.Octets != 500 {
		t.Errorf("got %+v", d)
	}
	none := ""
	d, err = f.SetDomain(f.ctx, "me.com", admin.DomainChange{Postmaster: &none})
	f.must(err)
	if d.Serving.String() != "look@me.com" || !d.Postmaster.IsZero() || d.Effective.Limit.Octets != 500 {
		t.Errorf("got %+v", d)
	}
	_, err = f.SetDomain(f.ctx, "other.example", admin.DomainChange{})
	f.refused(err, directory.ErrNotFound, "other.example is not hosted here: add it with: mailsrv domain add other.example")

	all, err := f.Domains(f.ctx)
	f.must(err)
	if len(all) != 1 || all[0].Mailboxes != 2 {
		t.Errorf("got %+v", all)
	}
}

func TestPostmasterOfANewDomain(t *testing.T) {
	f := setUp(t)
	own, elsewhere := "look@me.com", "look@you.example"
	_, err := f.AddDomain(f.ctx, "me.com", admin.DomainChange{Postmaster: &own})
	f.refused(err, directory.ErrNotFound, "the postmaster look@me.com must be a mailbox: add it first with: mailsrv mailbox add look@me.com (the first mailbox of a domain is its postmaster by itself)")
	_, err = f.AddDomain(f.ctx, "me.com", admin.DomainChange{Postmaster: &elsewhere})
	f.refused(err, directory.ErrNotFound, "the postmaster look@you.example must be a mailbox here: add it first with: mailsrv mailbox add look@you.example")
	f.hosts("you.example", "look@you.example")
	d, err := f.AddDomain(f.ctx, "me.com", admin.DomainChange{Postmaster: &elsewhere})
	f.must(err)
	if d.Serving.String() != elsewhere {
		t.Errorf("got %+v", d)
	}
	_, err = f.Disable(f.ctx, elsewhere)
	f.refused(err, directory.ErrInUse, "look@you.example receives the mail for postmaster@me.com: choose another mailbox first with: mailsrv domain set me.com --postmaster ADDRESS")
	_, err = f.RemoveMailbox(f.ctx, elsewhere)
	f.refused(err, directory.ErrInUse, "look@you.example receives the mail for postmaster@me.com: choose another mailbox first with: mailsrv domain set me.com --postmaster ADDRESS")
}

func TestRemoveDomainInUse(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "you.example", "look@me.com")
	f.refused(f.RemoveDomain(f.ctx, "me.com"), directory.ErrInUse,
		"me.com still has mailboxes: remove each with its mail first with: mailsrv mailbox remove look@me.com")
	_, err := f.AddAlias(f.ctx, "@you.example", []string{"look@me.com"})
	f.must(err)
	f.refused(f.RemoveDomain(f.ctx, "me.com"), directory.ErrInUse,
		"the alias @you.example leads to look@me.com: remove that target first with: mailsrv alias remove @you.example look@me.com")
	f.refused(f.RemoveDomain(f.ctx, "you.example"), directory.ErrInUse,
		"you.example still has aliases: remove each first with: mailsrv alias remove @you.example")
	_, err = f.RemoveMailbox(f.ctx, "look@me.com")
	f.refused(err, directory.ErrInUse,
		"the alias @you.example leads to look@me.com: remove that target first with: mailsrv alias remove @you.example look@me.com")
	_, err = f.RemoveAlias(f.ctx, "@you.example", nil)
	f.must(err)
	_, err = f.RemoveMailbox(f.ctx, "look@me.com")
	f.must(err)
	f.must(f.RemoveDomain(f.ctx, "me.com"))
	f.refused(f.RemoveDomain(f.ctx, "me.com"), directory.ErrNotFound,
		"me.com is not hosted here: add it with: mailsrv domain add me.com")
}

func TestMailboxes(t *testing.T) {
	f := setUp(t)
	_, err := f.AddMailbox(f.ctx, "look@me.com", admin.Secret{Hash: foreignHash}, admin.MailboxChange{})
	f.refused(err, directory.ErrNotFound, "me.com is not hosted here: add it with: mailsrv domain add me.com")
	f.hosts("me.com")

	messages := int64(10)
	m, err := f.AddMailbox(f.ctx, "Look@ME.com", admin.Secret{Password: "geheim"}, admin.MailboxChange{Limit: admin.LimitChange{Messages: &messages}})
	f.must(err)
	if m.Address.String() != "look@me.com" || m.Switches != directory.AllOn || m.Effective.Limit != (quota.Limit{Octets: server.Octets, Messages: 10}) {
		t.Errorf("got %+v", m)
	}
	if !strings.HasPrefix(m.Hash, "$argon2id$") {
		t.Error("the password is not hashed with argon2id")
	}
	_, err = f.AddMailbox(f.ctx, "look@me.com", admin.Secret{Hash: foreignHash}, admin.MailboxChange{})
	f.refused(err, directory.ErrExists, "the mailbox look@me.com exists already: change it with: mailsrv mailbox set or passwd look@me.com")
	_, err = f.AddMailbox(f.ctx, "@me.com", admin.Secret{Hash: foreignHash}, admin.MailboxChange{})
	f.refused(err, nil, `"@me.com" is the catch-all of a domain, not a mailbox: only mailsrv alias takes it`)
	_, err = f.AddMailbox(f.ctx, "x@me.com", admin.Secret{}, admin.MailboxChange{})
	f.refused(err, nil, "the password is empty")
	_, err = f.AddMailbox(f.ctx, "x@me.com", admin.Secret{Hash: "plain"}, admin.MailboxChange{})
	if err == nil || strings.Contains(err.Error(), "plain") || !strings.Contains(err.Error(), "x@me.com") {
		t.Errorf("got %v", err)
	}
	_, err = f.Mailbox(f.ctx, "x@me.com")
	f.refused(err, directory.ErrNotFound, "there is no mailbox x@me.com: see: mailsrv mailbox list me.com")

	f.hosts("second@me.com")
	_, err = f.Disable(f.ctx, "look@me.com")
	f.refused(err, directory.ErrInUse, "look@me.com receives the mail for postmaster@me.com: choose another mailbox first with: mailsrv domain set me.com --postmaster ADDRESS")
	m, err = f.Disable(f.ctx, "second@me.com")
	f.must(err)
	if !m.Switches.Disabled() {
		t.Error("still enabled")
	}
	m, err = f.SetSecret(f.ctx, "second@me.com", admin.Secret{Password: "neu"})
	f.must(err)
	if !m.Switches.Disabled() || m.Hash == foreignHash {
		t.Error("a new password enabled the mailbox, or is not there")
	}
	_, err = f.Enable(f.ctx, "second@me.com")
	f.must(err)

	inherit := quota.Inherit
	m, err = f.SetMailbox(f.ctx, "look@me.com", admin.MailboxChange{Limit: admin.LimitChange{Messages: &inherit}})
	f.must(err)
	if m.Effective.Limit != server || m.Limit != (quota.Limit{}) {
		t.Errorf("got %+v", m)
	}
	all, err := f.Mailboxes(f.ctx, "me.com")
	f.must(err)
	if len(all) != 2 || all[0].Effective.Limit != server {
		t.Errorf("got %+v", all)
	}
	_, err = f.Mailboxes(f.ctx, "you.example")
	f.refused(err, directory.ErrNotFound, "you.example is not hosted here: add it with: mailsrv domain add you.example")
}

// A local part has at most 64 octets, also after folding has made it longer.
func TestLocalPartsAreBounded(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com")
	for local, ok := range map[string]bool{
		strings.Repeat("a", 64):        true,
		strings.Repeat("a", 65):        false,
		"b+" + strings.Repeat("a", 64): true,
		strings.Repeat("\u0130", 21):   true,  // 42 octets, 63 when folded
		strings.Repeat("\u0130", 22):   false, // 66
	} {
		_, mailbox := f.AddMailbox(f.ctx, local+"@me.com", admin.Secret{Hash: foreignHash}, admin.MailboxChange{})
		_, alias := f.AddAlias(f.ctx, local+"@ME.com", []string{"look@me.com"})
		if ok && (mailbox != nil || !errors.Is(alias, directory.ErrExists)) {
			t.Errorf("%s: %v, %v", local, mailbox, alias)
		}
		for _, err := range []error{mailbox, alias} {
			if !ok && (err == nil || !strings.Contains(err.Error(), "the local part has more than 64 octets")) {
				t.Errorf("%s: %v", local, err)
			}
		}
	}
}

// Addresses that an earlier version accepted can still be removed.
func TestOldNamesCanGo(t *testing.T) {
	f := setUp(t)
	f.must(f.store.AddDomain(f.ctx, directory.Domain{Name: "[192.0.2.1]"}))
	old := mail.Address{Local: "*", Domain: "[192.0.2.1]"}
	_, err := f.store.AddMailbox(f.ctx, directory.Mailbox{Address: old, Hash: foreignHash})
	f.must(err)
	_, err = f.RemoveMailbox(f.ctx, old.String())
	f.must(err)
	f.must(f.RemoveDomain(f.ctx, "[192.0.2.1]"))
}

func TestRemoveMailboxSaysHowMuch(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com")
	f.deliver("look@me.com", 3)
	removed, err := f.RemoveMailbox(f.ctx, "look@me.com")
	f.must(err)
	if removed.Messages != 3 || removed.Octets == 0 {
		t.Errorf("got %+v", removed)
	}
	if line := f.log.String(); !strings.Contains(line, "msg="+logs.Expunged) || !strings.Contains(line, "messages=3") {
		t.Errorf("log: %q", line)
	}
}

func TestAliases(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com", "b@me.com")
	for _, row := range []struct {
		address, target string
		cause           error
		want            string
	}{
		{"all@you.example", "look@me.com", directory.ErrNotFound, "you.example is not hosted here: add it with: mailsrv domain add you.example"},
		{"look@me.com", "b@me.com", directory.ErrExists, "look@me.com is a mailbox: an alias needs an address of its own"},
		{"all@me.com", "x@you.example", directory.ErrNotHosted, "the target x@you.example is elsewhere: an alias leads to mailboxes and aliases of domains hosted here"},
		{"all@me.com", "x@me.com", directory.ErrNotFound, "the target x@me.com is neither mailbox nor alias here: add it first with: mailsrv mailbox add x@me.com"},
		{"all@me.com", "all@me.com", directory.ErrBadAlias, "all@me.com would lead back to itself: name another target"},
	} {
		_, err := f.AddAlias(f.ctx, row.address, []string{row.target})
		f.refused(err, row.cause, row.want)
	}
	alias, err := f.AddAlias(f.ctx, "All@me.com", []string{"look@me.com", "LOOK@me.com", "b@me.com"})
	f.must(err)
	if len(alias.Targets) != 2 {
		t.Errorf("got %+v", alias)
	}
	_, err = f.AddAlias(f.ctx, "list@me.com", []string{"all@me.com"})
	f.must(err)
	_, err = f.AddAlias(f.ctx, "all@me.com", []string{"list@me.com"})
	f.refused(err, directory.ErrBadAlias, "all@me.com would lead back to itself, or to too many mailboxes: see: mailsrv alias list")
	_, err = f.RemoveAlias(f.ctx, "all@me.com", nil)
	f.refused(err, directory.ErrInUse, "the alias list@me.com leads to all@me.com: remove that target first with: mailsrv alias remove list@me.com all@me.com")
	_, err = f.RemoveAlias(f.ctx, "all@me.com", []string{"x@me.com"})
	f.refused(err, directory.ErrNotFound, "x@me.com is no target of all@me.com: see: mailsrv alias list all@me.com")
	left, err := f.RemoveAlias(f.ctx, "all@me.com", []string{"b@me.com"})
	f.must(err)
	if len(left.Targets) != 1 || left.Targets[0].String() != "look@me.com" {
		t.Errorf("left %+v", left)
	}
	_, err = f.RemoveAlias(f.ctx, "none@me.com", nil)
	f.refused(err, directory.ErrNotFound, "there is no alias none@me.com: see: mailsrv alias list me.com")

	_, err = f.AddAlias(f.ctx, "@me.com", []string{"look@me.com"})
	f.must(err)
	for text, want := range map[string]int{"": 3, "me.com": 3, "all@me.com": 1, "@me.com": 1} {
		got, err := f.Aliases(f.ctx, text)
		if err != nil || len(got) != want {
			t.Errorf("%q: %d aliases, %v", text, len(got), err)
		}
	}
	_, err = f.Mailbox(f.ctx, "all@me.com")
	f.refused(err, directory.ErrNotFound, "all@me.com is an alias, not a mailbox: see: mailsrv alias list all@me.com")

	_, err = f.Disable(f.ctx, "b@me.com")
	f.must(err)
	_, err = f.AddAlias(f.ctx, "new@me.com", []string{"b@me.com"})
	f.refused(err, directory.ErrDisabled, "every mailbox behind new@me.com is disabled, so its mail would be refused: enable one first with: mailsrv mailbox enable ADDRESS")
}

func TestLeading(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "you.example", "look@me.com", "b@me.com")
	for _, pair := range [][2]string{
		{"all@me.com", "look@me.com"}, {"all@me.com", "b@me.com"}, {"list@you.example", "all@me.com"},
		{"@me.com", "list@you.example"}, {"@me.com", "look@me.com"}, {"other@me.com", "look@me.com"},
	} {
		_, err := f.AddAlias(f.ctx, pair[0], pair[1:])
		f.must(err)
	}
	for mailbox, want := range map[string]string{
		"look@me.com": "@me.com all@me.com other@me.com list@you.example",
		"b@me.com":    "@me.com all@me.com list@you.example",
		"c@me.com":    "",
	} {
		address, err := mail.ParseAddress(mailbox)
		f.must(err)
		leading, err := f.Leading(f.ctx, address)
		f.must(err)
		var names []string
		for _, alias := range leading {
			names = append(names, admin.AliasName(alias.Address))
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s", mailbox, got)
		}
	}
}

func TestReadMessage(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com")
	f.deliver("look@me.com", 2)
	want := "Received: x\r\nDelivered-To: look@me.com\r\nSubject: 1\r\n\r\ntext\r\n"
	for _, which := range []string{"2", "uidl1"} {
		var got bytes.Buffer
		f.must(f.WriteMessage(f.ctx, "look@me.com", which, &got))
		// The store decides which trace field comes first.
		if len(got.String()) != len(want) || !strings.HasSuffix(got.String(), "Subject: 1\r\n\r\ntext\r\n") {
			t.Errorf("%s: got %q", which, got.String())
		}
	}
	for _, which := range []string{"0", "3", "-1", "other", ""} {
		err := f.WriteMessage(f.ctx, "look@me.com", which, &bytes.Buffer{})
		f.refused(err, directory.ErrNotFound, fmt.Sprintf("there is no message %q in the maildrop of look@me.com: see: mailsrv maildrop list look@me.com", which))
	}
}

func TestPurge(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com")
	uidls := f.deliver("look@me.com", 450)
	_, err := f.Purge(f.ctx, "look@me.com", []string{uidls[0], "other"})
	f.refused(err, directory.ErrNotFound, `there is no message with the UIDL "other" in the maildrop of look@me.com, and nothing was removed: see: mailsrv maildrop list look@me.com`)

	removed, err := f.Purge(f.ctx, "look@me.com", []string{uidls[7], uidls[3], uidls[7]})
	f.must(err)
	if removed.Messages != 2 {
		t.Errorf("removed %+v", removed)
	}
	left, err := f.Maildrop(f.ctx, "look@me.com")
	f.must(err)
	if len(left.Entries) != 448 || left.Entries[3].UIDL != uidls[4] {
		t.Errorf("%d left", len(left.Entries))
	}
	before, err := f.Mailbox(f.ctx, "look@me.com")
	f.must(err)
	if got := f.log.String(); !strings.Contains(got, "msg=expunged mailbox=look@me.com messages=2 octets=") ||
		!strings.Contains(got, `id="uidl7 uidl3" reason="purged by the administrator"`) || strings.Count(got, "\n") != 1 {
		t.Errorf("logged %s", got)
	}
	f.log.Reset()
	removed, err = f.Purge(f.ctx, "look@me.com", nil)
	f.must(err)
	if !reflect.DeepEqual(removed, before.Usage) {
		t.Errorf("removed %+v of %+v", removed, before.Usage)
	}
	var named []string
	var messages int64
	for line := range strings.Lines(f.log.String()) {
		if len(line) > 1200 || !strings.Contains(line, "msg="+logs.Expunged+" mailbox=look@me.com ") {
			t.Errorf("logged %s", line)
		}
		_, ids, _ := strings.Cut(line, `id="`)
		ids, _, _ = strings.Cut(ids, `"`)
		named = append(named, strings.Fields(ids)...)
		if _, n, first := strings.Cut(line, "messages="); first {
			n, _, _ = strings.Cut(n, " ")
			count, err := strconv.ParseInt(n, 10, 64)
			f.must(err)
			messages += count
		}
	}
	if len(named) != 448 || messages != 448 {
		t.Errorf("%d messages are named, %d counted", len(named), messages)
	}
}
