package auth

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

func TestLoginStandsUntilItsMailboxChanges(t *testing.T) {
	f := newFixture()
	m := f.people.add(t, "look@me.com", mustHash(t, "secret"))
	login, err := f.Login(t.Context(), home, "LOOK@me.com", "secret")
	if err != nil {
		t.Fatal(err)
	}
	hash := f.people.hash(t, m)
	lookErr := errors.New("database is locked")
	remove := func() {
		if _, err := f.people.RemoveMailbox(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	state := func(hash string, on directory.Switches) func() {
		return func() {
			f.people.setHash(t, m, hash)
			f.people.setSwitches(t, m, on)
		}
	}
	alias := directory.Alias{Address: m, Targets: []mail.Address{f.people.add(t, "see@me.com", "")}}
	for _, test := range []struct { // one after the other
		what   string
		change func()
		want   error
	}{
		{"nothing", func() {}, nil},
		{"other settings", func() { f.people.change(t, m, func(m *directory.Mailbox) { m.Limit.Octets = 5 }) }, nil},
		{"disabled", state(hash, 0), ErrDisabled},
		{"another password", state(mustHash(t, "changed"), directory.AllOn), ErrChanged},
		{"the same password, set again", state(mustHash(t, "secret"), directory.AllOn), ErrChanged},
		{"no password", state("", directory.AllOn), ErrChanged},
		{"all as it was", state(hash, directory.AllOn), nil},
		{"cannot be asked", func() { f.people.lookErr = lookErr }, lookErr},
		{"another mailbox of the name", func() {
			f.people.lookErr = nil
			remove()
			f.people.add(t, "look@me.com", hash)
		}, ErrRemoved},
		{"removed", remove, ErrRemoved},
		{"an alias of the name", func() {
			if err := f.people.AddAlias(t.Context(), alias); err != nil {
				t.Fatal(err)
			}
		}, ErrRemoved},
	} {
		test.change()
		if err := f.Stands(t.Context(), login); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", test.what, err)
		}
	}
	if f.computed != 1 {
		t.Errorf("%d hashes were computed", f.computed)
	}
}

// A hash that a login put in the place of an outdated one ends nobody's session,
// whichever of several logins at once stored its own.
func TestReplacedHashLetsLoginsStand(t *testing.T) {
	f := newFixture()
	f.queue.cores, f.queue.most = 2, 2
	m := f.people.add(t, "look@me.com", foreign[0].hash)
	compute := f.compute
	var rival Login
	f.compute = func(h passwordHash, password string) bool {
		f.compute = compute
		var err error
		if rival, err = f.Login(t.Context(), abroad, "look@me.com", password); err != nil {
			t.Error(err)
		}
		return compute(h, password)
	}
	slow, err := f.Login(t.Context(), home, "look@me.com", foreign[0].password)
	if err != nil {
		t.Fatal(err)
	}
	if f.people.hash(t, m) == foreign[0].hash || f.people.sets != 2 {
		t.Fatalf("the hash is %s after %d tries to replace it", f.people.hash(t, m), f.people.sets)
	}
	later, err := f.Login(t.Context(), home, "look@me.com", foreign[0].password)
	if err != nil {
		t.Fatal(err)
	}
	for what, login := range map[string]Login{"the slow": slow, "the rival": rival, "a later": later} {
		if err := f.Stands(t.Context(), login); err != nil {
			t.Errorf("%s login: %v", what, err)
		}
	}
	f.people.setHash(t, m, mustHash(t, "changed"))
	for what, login := range map[string]Login{"the slow": slow, "the rival": rival, "a later": later} {
		if err := f.Stands(t.Context(), login); !errors.Is(err, ErrChanged) {
			t.Errorf("%s login after a change: %v", what, err)
		}
	}
}

func TestLoginShowsNoHash(t *testing.T) {
	f := newFixture()
	m := f.people.add(t, "look@me.com", mustHash(t, "secret"))
	login, err := f.Login(t.Context(), home, "look@me.com", "secret")
	if err != nil {
		t.Fatal(err)
	}
	_, key, _ := strings.Cut(f.people.hash(t, m), "p=1$")
	if text := fmt.Sprintf("%+v %#v", login, login); strings.Contains(text, key) || strings.Contains(text, "argon2") {
		t.Errorf("the login shows it: %s", text)
	}
}

func TestHeirsAreBounded(t *testing.T) {
	h := newHeirs()
	for i := range 5 * heirCount {
		var hash, old digest
		hash[0], hash[1], hash[2], old[0] = byte(i), byte(i>>8), byte(i>>16), 1
		h.add(hash, old)
		if n := h.of.Len(); n > 2*heirCount {
			t.Fatalf("%d are kept", n)
		}
	}
}
