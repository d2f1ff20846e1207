package directory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

// book is a directory in memory.
type book struct {
	directory.Reader                   // what Resolve does not need
	hosted           map[string]string // domain to the local part of its postmaster
	matches          map[string]directory.Match
	err              error
	lookups          int
}

// newBook reads one entry a line: "domain NAME [POSTMASTER]", "mailbox
// ADDRESS", "disabled ADDRESS" or "alias ADDRESS TARGET...".
func newBook(t *testing.T, lines string) *book {
	t.Helper()
	b := &book{hosted: map[string]string{}, matches: map[string]directory.Match{}}
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switches := directory.AllOn
		switch words[0] {
		case "domain":
			b.hosted[words[1]] = strings.Join(words[2:], "")
		case "mailbox", "disabled":
			if words[0] == "disabled" {
				switches = 0
			}
			b.matches[words[1]] = directory.Match{Hosted: true, Mailbox: &directory.Mailbox{
				ID: mail.MailboxID(len(b.matches) + 1), Address: address(t, words[1]), Switches: switches,
			}}
		case "alias":
			alias := &directory.Alias{}
			for _, target := range words[2:] {
				alias.Targets = append(alias.Targets, address(t, target))
			}
			b.matches[words[1]] = directory.Match{Hosted: true, Alias: alias}
		default:
			t.Fatalf("line %q", line)
		}
	}
	return b
}

func (b *book) Lookup(_ context.Context, a mail.Address) (directory.Match, error) {
	b.lookups++
	match := b.matches[a.Local+"@"+a.Domain]
	_, match.Hosted = b.hosted[a.Domain]
	return match, b.err
}

func (b *book) Postmaster(_ context.Context, domain string) (directory.Mailbox, error) {
	m := b.matches[b.hosted[domain]+"@"+domain].Mailbox
	if m == nil {
		return directory.Mailbox{}, directory.ErrNotFound
	}
	return *m, b.err
}

func address(t *testing.T, text string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestResolve(t *testing.T) {
	const hosted = `
		domain me.com first
		domain empty.example
		domain all.example boss
		mailbox first@me.com
		mailbox look@me.com
		mailbox see@me.com
		mailbox see+special@me.com
		disabled off@me.com
		mailbox +plus@me.com
		alias info@me.com look@me.com
		alias news+weekly@me.com see@me.com
		alias both@me.com look@me.com see@me.com
		alias nested@me.com both@me.com info@me.com first@me.com
		alias tagged@me.com look+tag@me.com
		alias away@me.com boss@all.example
		alias self@me.com self@me.com
		alias ping@me.com pong@me.com
		alias pong@me.com ping@me.com look@me.com
		alias lost@me.com look@me.com nobody@me.com
		alias partly@me.com look@me.com off@me.com
		alias behind@me.com partly@me.com off@me.com gone@all.example
		alias none@me.com off@me.com gone@all.example
		mailbox boss@all.example
		disabled gone@all.example
		alias @all.example boss@all.example
		alias abuse@all.example gone@all.example
	`
	for _, test := range []struct {
		to    string
		want  string // local parts of the mailboxes
		left  string // of those left out
		alias bool
		err   error
	}{
		{to: "look@me.com", want: "look"},
		{to: "LOOK@ME.com", want: "look"},
		{to: "look+tag@me.com", want: "look"},
		{to: "look+a+b@me.com", want: "look"},
		{to: "see+special@me.com", want: "see+special"},
		{to: "see+other@me.com", want: "see"},
		{to: "+plus@me.com", want: "+plus"},
		{to: "info@me.com", want: "look", alias: true},
		{to: "info+tag@me.com", want: "look", alias: true},
		{to: "news+weekly@me.com", want: "see", alias: true},
		{to: "news@me.com", err: directory.ErrNoMailbox},
		{to: "both@me.com", want: "look see", alias: true},
		{to: "nested@me.com", want: "look see first", alias: true},
		{to: "tagged@me.com", want: "look", alias: true},
		{to: "away@me.com", want: "boss", alias: true},

		{to: "nobody@me.com", err: directory.ErrNoMailbox},
		{to: "nobody+tag@me.com", err: directory.ErrNoMailbox},
		{to: "look@you.com", err: directory.ErrNotHosted},
		{to: "postmaster@you.com", err: directory.ErrNotHosted},
		{to: "off@me.com", err: directory.ErrDisabled},
		{to: "off+tag@me.com", err: directory.ErrDisabled},
		{to: "lost@me.com", err: directory.ErrNoMailbox},
		{to: "partly@me.com", want: "look", left: "off", alias: true},
		{to: "behind@me.com", want: "look", left: "off gone", alias: true},
		{to: "none@me.com", err: directory.ErrDisabled},
		{to: "self@me.com", err: directory.ErrBadAlias},
		{to: "ping@me.com", err: directory.ErrBadAlias},

		{to: "postmaster@me.com", want: "first", alias: true},
		{to: "Postmaster@me.com", want: "first", alias: true},
		{to: "postmaster+x@me.com", want: "first", alias: true},
		{to: "abuse@me.com", want: "first", alias: true},
		{to: "postmaster@empty.example", err: directory.ErrNoMailbox},
		{to: "postmaster@all.example", want: "boss", alias: true},
		{to: "abuse@all.example", err: directory.ErrDisabled}, // an address of its own comes first

		{to: "anybody@all.example", want: "boss", alias: true},
		{to: "anybody+tag@all.example", want: "boss", alias: true},
		{to: "boss@all.example", want: "boss"},
		{to: "gone@all.example", err: directory.ErrDisabled}, // and not the catch-all
		{to: "gone+tag@all.example", err: directory.ErrDisabled},
	} {
		t.Run(test.to, func(t *testing.T) {
			route, err := directory.Resolve(t.Context(), newBook(t, hosted), address(t, test.to))
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			var got, left []string
			for _, m := range route.Mailboxes {
				got = append(got, m.Address.Local)
			}
			for _, m := range route.LeftOut {
				left = append(left, m.Address.Local)
			}
			if strings.Join(left, " ") != test.left {
				t.Errorf("left out: %v, want %s", left, test.left)
			}
			if !slices.Equal(got, strings.Fields(test.want)) || route.Alias != test.alias {
				t.Errorf("mailboxes %v, alias %t", got, route.Alias)
			}
		})
	}
}

// The domain's postmaster falls to the catch-all only where no mailbox serves.
func TestResolvePostmasterByCatchAll(t *testing.T) {
	b := newBook(t, `
		domain me.com
		domain you.com you
		mailbox you@you.com
		alias @me.com you@you.com`)
	route, err := directory.Resolve(t.Context(), b, address(t, "postmaster@me.com"))
	if err != nil || len(route.Mailboxes) != 1 || !route.Alias {
		t.Errorf("route %+v, %v", route, err)
	}
}

func TestResolveCatchAllLoop(t *testing.T) {
	b := newBook(t, `
		domain me.com
		alias @me.com nobody@me.com`)
	if route, err := directory.Resolve(t.Context(), b, address(t, "any@me.com")); !errors.Is(err, directory.ErrBadAlias) {
		t.Errorf("route %+v, %v", route, err)
	}
}

func TestResolveChain(t *testing.T) {
	for length, want := range map[int]error{10: nil, 11: directory.ErrBadAlias} {
		lines := "domain me.com\nmailbox a0@me.com\n"
		for i := range length {
			lines += fmt.Sprintf("alias a%d@me.com a%d@me.com\n", i+1, i)
		}
		_, err := directory.Resolve(t.Context(), newBook(t, lines), address(t, fmt.Sprintf("a%d@me.com", length)))
		if !errors.Is(err, want) {
			t.Errorf("chain of %d: %v", length, err)
		}
	}
}

func TestResolveBoundsTargets(t *testing.T) {
	for targets, want := range map[int]error{100: nil, 101: directory.ErrBadAlias} {
		lines, alias := "domain me.com\n", "alias all@me.com"
		for i := range targets {
			lines += fmt.Sprintf("mailbox m%d@me.com\n", i)
			alias += fmt.Sprintf(" m%d@me.com", i)
		}
		route, err := directory.Resolve(t.Context(), newBook(t, lines+alias), address(t, "all@me.com"))
		if !errors.Is(err, want) || want == nil && len(route.Mailboxes) != targets {
			t.Errorf("%d targets: %d mailboxes, %v", targets, len(route.Mailboxes), err)
		}
	}
}

// Ten aliases that each name the next twenty times over must not multiply.
func TestResolveBoundsWork(t *testing.T) {
	lines := "domain me.com\nmailbox end@me.com\n"
	for depth := range 9 {
		for i := range 20 {
			lines += fmt.Sprintf("alias d%d-%d@me.com", depth, i)
			for j := range 20 {
				if depth == 0 {
					lines += " end@me.com"
				} else {
					lines += fmt.Sprintf(" d%d-%d@me.com", depth-1, j)
				}
			}
			lines += "\n"
		}
	}
	b := newBook(t, lines)
	if _, err := directory.Resolve(t.Context(), b, address(t, "d8-0@me.com")); !errors.Is(err, directory.ErrBadAlias) {
		t.Errorf("error %v", err)
	}
	if b.lookups > 1000 {
		t.Errorf("%d lookups", b.lookups)
	}
}

func TestResolvePassesReaderError(t *testing.T) {
	b := newBook(t, "domain me.com\nmailbox look@me.com")
	b.err = errors.New("database is locked")
	for _, to := range []string{"look@me.com", "postmaster@me.com", "nobody@me.com"} {
		if route, err := directory.Resolve(t.Context(), b, address(t, to)); err != b.err || len(route.Mailboxes) != 0 {
			t.Errorf("%s: %+v, %v", to, route, err)
		}
	}
}
