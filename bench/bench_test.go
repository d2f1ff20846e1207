package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailsrv/bench/load"
	"mailsrv/internal/auth"
	"mailsrv/internal/listen"
	"mailsrv/test/built"
)

// The rows' ways to send and to fetch work with mailsrv: each message is checked, and
// each figure is there.
func TestWaysOfARow(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b := &bench{dir: t.TempDir(), programs: t.TempDir()}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Symlink(built.Server(t), filepath.Join(b.programs, "mailsrv")))
	hash, err := auth.Hash(password(0))
	must(err)
	const mailboxes = 4
	for i := range mailboxes + spare {
		b.mailboxes = append(b.mailboxes, load.Mailbox{Address: string(rune('a'+i)) + "@bench.test", Password: password(0)})
		b.hashes = append(b.hashes, hash)
	}
	b.certFile, b.keyFile, _, err = listen.SelfSigned(b.dir, "mail.bench.test")
	must(err)
	s, err := b.stationOf(ctx, mailsrv, mailsrv, mailboxes)
	must(err)
	defer b.close()

	figures := func(what string, f sample, err error) {
		t.Helper()
		if err != nil || f[rate] <= 0 || f[octets] <= 0 || f[p50] <= 0 || f[p50] > f[p95] || f[p95] > f[p99] {
			t.Errorf("%s: %v, %v", what, f, err)
		}
	}
	for what, senders := range map[string]load.Senders{
		"many a connection": {Connections: 4, Contents: load.NewContents(small...)},
		"one each":          {Connections: 4, PerConnection: 1, Contents: load.NewContents(small...)},
		"three recipients":  {Connections: 2, Recipients: 3, Contents: load.NewContents(small...)},
		"the mix":           {Connections: 2, Contents: load.NewContents(mix...)},
		"STARTTLS":          {Connections: 2, PerConnection: 1, TLS: clientTLS, Contents: load.NewContents(small...)},
	} {
		senders.Mailbox, senders.Messages = load.Everywhere, 40
		f, err := b.receive(ctx, s, s.book, senders)
		figures(what, f, err)
	}

	must(s.fill(ctx, s.book, 4, small))
	must(s.warm(ctx, 4))
	for what, readers := range map[string]load.Readers{
		"one by one": {Fetch: 4, Rounds: 40},
		"sent ahead": {Fetch: 4, Rounds: 40, Pipeline: 4},
	} {
		readers.Sessions = 1 // with few mailboxes two sessions could want the same one
		f, err := b.read(ctx, s, s.book, readers)
		figures(what, f, err)
	}
	must(s.collect(ctx, s.book))
}

func TestMedian(t *testing.T) {
	m := median([]sample{{rate: 5, cpu: 1}, {rate: 1, cpu: 3}, {rate: 3}})
	if m[rate] != 3 || m[cpu] != 2 {
		t.Errorf("%v", m)
	}
}

func TestVerdicts(t *testing.T) {
	for _, test := range []struct {
		claim claim
		want  string
	}{
		{times("", 24.9, 25, 33), "**missed**"},
		{times("", 25, 25, 33), "owed"},
		{times("", 40, 25, 33), "proud"},
		{cost(0.32, 0.15, 0.11, "sink", 0.062, 0.031), "**missed**"},
		{cost(0.15, 0.15, 0.11, "sink", 0.031, 0.031), "owed"},
		{cost(0.20, 0.15, 0.11, "sink", 0.062, 0.031), "proud"},
	} {
		if got := test.claim.verdict(); got != test.want {
			t.Errorf("%v: %s", test.claim, got)
		}
	}
}

func TestRowNamesDiffer(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rows {
		if seen[r.name] {
			t.Errorf("two rows are called %s", r.name)
		}
		seen[r.name] = true
	}
}

// The document must have the marks between which the figures go.
func TestFiguresHaveAPlace(t *testing.T) {
	text, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, figures := range []string{"first", "second"} {
		if err := replaceFigures(path, figures); err != nil {
			t.Fatal(err)
		}
	}
	text, _ = os.ReadFile(path)
	if strings.Contains(string(text), "\n\nfirst\n") || !strings.Contains(string(text), "\n\nsecond\n") {
		t.Errorf("%s", text)
	}
}
