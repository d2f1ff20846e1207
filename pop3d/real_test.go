//go:build cgo

package pop3d_test

import (
	"context"
	"io"
	"net/netip"
	"testing"

	"mailsrv/internal/auth"
	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/pop3d"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
)

// real is a server on a real store.
type real struct {
	*setup
	t     testing.TB
	dir   string
	Store *sqlite.Store
}

// asStored lets everybody in whose mailbox is stored.
type asStored struct{ directory.Reader }

func (a asStored) Login(ctx context.Context, _ netip.Addr, name, _ string) (auth.Login, error) {
	address, err := mail.ParseAddress(name)
	if err != nil {
		return auth.Login{}, &auth.Refusal{}
	}
	match, err := a.Lookup(ctx, address.Fold())
	if err == nil && match.Mailbox == nil {
		err = &auth.Refusal{}
	}
	if err != nil {
		return auth.Login{}, err
	}
	m := match.Mailbox
	return auth.Login{Mailbox: m.ID, Address: m.Address, Retrieved: m.Effective.Retention.Retrieved}, nil
}

func (asStored) Stands(context.Context, auth.Login) error { return nil }

// startReal runs a server on a store of its own with the domain me.com. change
// adapts what it is made of.
func startReal(t testing.TB, change func(*pop3d.Config)) *real {
	t.Helper()
	r := &real{t: t, dir: t.TempDir()}
	var err error
	if r.Store, err = sqlite.Open(t.Context(), r.dir, sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Store.Close() })
	r.setup = start(t, func(c *pop3d.Config) {
		c.Store, c.Directory, c.Auth = r.Store, r.Store, asStored{r.Store}
		if change != nil {
			change(c)
		}
	})
	if err := r.Store.AddDomain(t.Context(), directory.Domain{Name: "me.com"}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *real) mailbox(name string, keep directory.Retention) mail.MailboxID {
	r.t.Helper()
	address, err := mail.ParseAddress(name)
	if err != nil {
		r.t.Fatal(err)
	}
	id, err := r.Store.AddMailbox(r.t.Context(), directory.Mailbox{Address: address, Switches: directory.AllOn, Policy: directory.Policy{Retention: keep}})
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// deliver stores a message and returns its UIDL.
func (r *real) deliver(id mail.MailboxID, text string) string {
	r.t.Helper()
	ctx := r.t.Context()
	body, err := r.Store.NewBody(ctx, int64(len(text)))
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Discard()
	if _, err := io.WriteString(body, text); err != nil {
		r.t.Fatal(err)
	}
	uidl := mail.NewID()
	_, err = r.Store.Deliver(ctx, &storage.Delivery{ID: uidl, Body: body, To: []storage.Recipient{{Mailbox: id}}})
	if err != nil {
		r.t.Fatal(err)
	}
	return uidl
}
