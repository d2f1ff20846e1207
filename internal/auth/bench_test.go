package auth

import (
	"testing"

	"mailsrv/internal/logs"
)

// A busy poller: what a login costs beyond the directory's read.
func BenchmarkLoginRemembered(b *testing.B) {
	people := newPeople()
	people.add(b, "look@me.com", mustHash(b, "secret"))
	a := New(people, Options{Logger: logs.Discard()})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := a.Login(b.Context(), home, "look@me.com", "secret"); err != nil {
				b.Error(err)
			}
		}
	})
}

// The first login within the hour.
func BenchmarkLoginHash(b *testing.B) {
	f := newFixture()
	f.people.add(b, "look@me.com", mustHash(b, "secret"))
	for b.Loop() {
		if _, err := f.login(b, home, "look@me.com", "secret"); err != nil {
			b.Fatal(err)
		}
		f.clock.pass(rememberFor)
	}
}
