package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
)

func testDomains(t *testing.T, f *fixture) {
	limit := quota.Limit{Octets: 5}
	f.must(f.AddDomain(background, directory.Domain{Name: "me.com", Policy: directory.Policy{Limit: limit}}))
	f.wantError(f.AddDomain(background, directory.Domain{Name: "me.com"}), directory.ErrExists)
	f.domain("a.example")
	all, err := f.Domains(background)
	f.must(err)
	if len(all) != 2 || all[0].Name != "a.example" || all[1].Limit != limit {
		t.Fatalf("domains %+v", all)
	}
	_, err = f.Domain(background, "b.example")
	f.wantError(err, directory.ErrNotFound)
	f.wantError(f.ChangeDomain(background, "b.example", func(*directory.Domain) {}), directory.ErrNotFound)
	f.wantError(f.RemoveDomain(background, "b.example"), directory.ErrNotFound)

	_, err = f.FirstDomain(background)
	f.wantError(err, directory.ErrNotFound) // none has a mailbox
	f.mailbox("look@me.com", inherit)
	f.mailbox("x@z.example", inherit)
	if first, err := f.FirstDomain(background); err != nil || first != "me.com" {
		t.Fatalf("the first domain is %q, %v", first, err)
	}
	f.wantError(f.RemoveDomain(background, "me.com"), directory.ErrInUse)
	f.must(f.AddAlias(background, directory.Alias{Address: address("x@a.example"), Targets: []mail.Address{address("look@me.com")}}))
	f.wantError(f.RemoveDomain(background, "a.example"), directory.ErrInUse)
	f.must(f.RemoveAlias(background, directory.Alias{Address: address("x@a.example")}))
	f.must(f.RemoveDomain(background, "a.example"))
	found, err := f.Lookup(background, address("x@a.example"))
	f.must(err)
	if found.Hosted {
		t.Fatal("a removed domain is hosted")
	}
}

func testMailboxes(t *testing.T, f *fixture) {
	f.domain("me.com")
	box := directory.Mailbox{Address: address("look@me.com"), Switches: directory.AllOn, Hash: "h1", Policy: directory.Policy{Limit: quota.Limit{Octets: 7}}}
	id, err := f.AddMailbox(background, box)
	f.must(err)
	_, err = f.AddMailbox(background, box)
	f.wantError(err, directory.ErrExists)
	_, err = f.AddMailbox(background, directory.Mailbox{Address: address("look@other.example")})
	f.wantError(err, directory.ErrNotFound)
	f.wantError(f.ChangeMailbox(background, address("no@me.com"), func(*directory.Mailbox) {}), directory.ErrNotFound)
	_, err = f.RemoveMailbox(background, address("no@me.com"))
	f.wantError(err, directory.ErrNotFound)

	found, err := f.Lookup(background, box.Address)
	f.must(err)
	m := found.Mailbox
	if m == nil || m.ID != id || m.Address != box.Address || m.Switches != directory.AllOn || m.Hash != "h1" || m.Limit != box.Limit || m.Created.IsZero() {
		t.Fatalf("found %+v", m)
	}
	f.must(f.SetHash(background, id, "h1", "h2"))
	f.must(f.SetHash(background, id, "h1", "h3"))
	found, err = f.Lookup(background, box.Address)
	f.must(err)
	if found.Mailbox.Hash != "h2" {
		t.Fatalf("hash %q, want the first replacement", found.Mailbox.Hash)
	}
	odd := address(`"a b@c"@me.com`)
	_, err = f.AddMailbox(background, directory.Mailbox{Address: odd})
	f.must(err)
	all, err := f.Mailboxes(background, "me.com")
	f.must(err)
	if len(all) != 2 || all[0].Address != odd || all[0].Switches != 0 {
		t.Fatalf("mailboxes %+v", all)
	}
	if all, err = f.Mailboxes(background, "other.example"); err != nil || len(all) != 0 {
		t.Fatalf("mailboxes of another domain %+v, %v", all, err)
	}
}

func testAliases(t *testing.T, f *fixture) {
	f.mailbox("a@me.com", inherit)
	f.mailbox("b@me.com", inherit)
	alias := func(name string, targets ...string) directory.Alias {
		a := directory.Alias{Address: address(name)}
		for _, target := range targets {
			a.Targets = append(a.Targets, address(target))
		}
		return a
	}
	f.must(f.AddAlias(background, alias("all@me.com", "a@me.com", "b@me.com", "a@me.com")))
	f.must(f.AddAlias(background, alias("@me.com", "all@me.com")))
	f.wantError(f.AddAlias(background, alias("x@me.com", "nobody@me.com")), directory.ErrNotFound)
	f.wantError(f.AddAlias(background, alias("x@other.example", "a@me.com")), directory.ErrNotFound)
	f.wantError(f.AddAlias(background, alias("a@me.com", "b@me.com")), directory.ErrExists)
	_, err := f.AddMailbox(background, directory.Mailbox{Address: address("all@me.com")})
	f.wantError(err, directory.ErrExists)
	_, err = f.RemoveMailbox(background, address("a@me.com"))
	f.wantError(err, directory.ErrInUse)

	found, err := f.Lookup(background, address("all@me.com"))
	f.must(err)
	if found.Alias == nil || !slices.Equal(found.Alias.Targets, alias("all@me.com", "a@me.com", "b@me.com").Targets) {
		t.Fatalf("found %+v", found.Alias)
	}
	if found, err = f.Lookup(background, mail.Address{Domain: "me.com"}); err != nil || found.Alias == nil {
		t.Fatalf("catch-all: %+v, %v", found, err)
	}
	all, err := f.Aliases(background, "")
	f.must(err)
	if len(all) != 2 || all[0].Address.Local != "" || len(all[1].Targets) != 2 {
		t.Fatalf("aliases %+v", all)
	}
	f.wantError(f.RemoveAlias(background, alias("all@me.com")), directory.ErrInUse)
	f.wantError(f.RemoveAlias(background, alias("all@me.com", "c@me.com")), directory.ErrNotFound)
	f.must(f.RemoveAlias(background, alias("all@me.com", "a@me.com")))
	f.must(f.RemoveAlias(background, alias("@me.com")))
	f.must(f.RemoveAlias(background, alias("all@me.com", "b@me.com")))
	f.wantError(f.RemoveAlias(background, alias("all@me.com")), directory.ErrNotFound)
}

func testPostmaster(t *testing.T, f *fixture) {
	f.domain("me.com")
	_, err := f.Postmaster(background, "me.com")
	f.wantError(err, directory.ErrNotFound)
	f.mailbox("first@me.com", inherit)
	f.mailbox("second@me.com", inherit)
	f.mailbox("chief@other.example", quota.Limit{Octets: 3, Messages: 3})
	for _, c := range []struct{ set, want string }{{"", "first@me.com"}, {"chief@other.example", "chief@other.example"}, {"second@me.com", "second@me.com"}} {
		if c.set != "" {
			f.must(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Postmaster = address(c.set) }))
		}
		m, err := f.Postmaster(background, "me.com")
		f.must(err)
		if m.Address != address(c.want) {
			t.Fatalf("postmaster %s, want %s", m.Address, c.want)
		}
	}
	f.wantError(f.ChangeDomain(background, "me.com", func(d *directory.Domain) { d.Postmaster = address("no@me.com") }), directory.ErrNotFound)
	f.must(f.AddDomain(background, directory.Domain{Name: "late.example", Postmaster: address("first@me.com")}))
	m, err := f.Postmaster(background, "late.example")
	f.must(err)
	if m.Address != address("first@me.com") {
		t.Fatalf("postmaster %s of late.example", m.Address)
	}
	f.wantError(f.AddDomain(background, directory.Domain{Name: "no.example", Postmaster: address("no@me.com")}), directory.ErrNotFound)
	_, err = f.RemoveMailbox(background, address("second@me.com"))
	f.wantError(err, directory.ErrInUse)
	d, err := f.Domain(background, "me.com")
	f.must(err)
	if d.Postmaster != address("second@me.com") {
		t.Fatalf("domain %+v", d)
	}
}

// Whether an alias can be followed, and each that leads to it, is decided in the
// transaction that changes it.
func testOutgrownAliases(t *testing.T, f *fixture) {
	add := func(name string, targets ...string) error {
		a := directory.Alias{Address: address(name)}
		for _, target := range targets {
			a.Targets = append(a.Targets, address(target))
		}
		return f.AddAlias(background, a)
	}
	outgrown := func(err error, alias string) {
		t.Helper()
		var which *directory.OutgrownError
		if !errors.As(err, &which) || !errors.Is(err, directory.ErrBadAlias) || which.Alias != address(alias) {
			t.Fatalf("got %v, want that %s has outgrown", err, alias)
		}
	}
	for i := range 101 {
		f.mailbox(fmt.Sprintf("m%d@me.com", i), inherit)
	}
	// An inner alias must not outgrow the outer one.
	f.must(add("inner@me.com", "m0@me.com"))
	f.must(add("outer@me.com", "inner@me.com"))
	for i := range 99 {
		f.must(add("outer@me.com", fmt.Sprintf("m%d@me.com", i+1)))
	}
	outgrown(add("inner@me.com", "m100@me.com"), "outer@me.com")
	f.must(add("inner@me.com", "m1@me.com")) // which outer has
	outgrown(add("inner@me.com", "outer@me.com"), "inner@me.com")
	// As long a chain as there may be.
	f.must(add("a1@me.com", "m0@me.com"))
	for i := range 9 {
		f.must(add(fmt.Sprintf("a%d@me.com", i+2), fmt.Sprintf("a%d@me.com", i+1)))
	}
	outgrown(add("a11@me.com", "a10@me.com"), "a11@me.com")
	f.must(add("a0@me.com", "m0@me.com"))
	outgrown(add("a1@me.com", "a0@me.com"), "a10@me.com")
	for _, name := range []string{"a10@me.com", "outer@me.com"} {
		if _, err := directory.Resolve(background, f, address(name)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	// Two changes at once that are a loop together: one is refused.
	for range 20 {
		f.must(add("x@me.com", "m0@me.com"))
		f.must(add("y@me.com", "m0@me.com"))
		done := make(chan error, 2)
		go func() { done <- add("x@me.com", "y@me.com") }()
		go func() { done <- add("y@me.com", "x@me.com") }()
		if one, two := <-done, <-done; errors.Is(one, directory.ErrBadAlias) == errors.Is(two, directory.ErrBadAlias) {
			t.Fatalf("%v and %v", one, two)
		}
		remove := func(name, target string) error {
			return f.RemoveAlias(background, directory.Alias{Address: address(name), Targets: []mail.Address{address(target)}})
		}
		if remove("x@me.com", "y@me.com") != nil {
			f.must(remove("y@me.com", "x@me.com"))
		}
	}
}
