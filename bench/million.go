package main

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"mailsrv/bench/load"
)

// Contenders of the row of a large store.
const (
	fullStore  = "mailsrv, full store"
	emptyStore = "mailsrv, empty store"
)

// million is a row of a store with a million messages beside one that is nearly empty,
// with the same mailboxes.
func million(ctx context.Context, b *bench) (*outcome, error) {
	messages := 100 * mostMailboxes
	if b.quick {
		messages = 10 * mostMailboxes
	}
	if need := int64(messages) * 12 << 10; b.free() < need {
		return nil, fmt.Errorf("it needs %d GiB on the disk of BENCH_DIR", need>>30)
	}
	full, err := b.stationOf(ctx, fullStore, mailsrv, mostMailboxes)
	if err != nil {
		return nil, err
	}
	empty, err := b.stationOf(ctx, emptyStore, mailsrv, mostMailboxes)
	if err != nil {
		return nil, err
	}
	warmBoth := func(messages int) error {
		if err := full.warm(ctx, messages); err != nil {
			return err
		}
		return empty.warm(ctx, messages)
	}
	if err := full.fill(ctx, full.book, messages/mostMailboxes, small); err != nil {
		return nil, err
	}
	full.book.Forget()
	if err := warmBoth(0); err != nil {
		return nil, err
	}

	deliver, err := b.contest(ctx,
		b.into(fullStore, full, false),
		b.into(emptyStore, empty, true))
	if err != nil {
		return nil, fmt.Errorf("deliver: %w", err)
	}
	if err := empty.fill(ctx, empty.book, perMaildrop, small); err != nil {
		return nil, err
	}
	logins, err := b.sessions(ctx, full, empty, load.Readers{Sessions: 16})
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	if err := warmBoth(perMaildrop); err != nil {
		return nil, err
	}
	fetches, err := b.sessions(ctx, full, empty, load.Readers{Sessions: 16, Fetch: perMaildrop})
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}

	o := &outcome{medians: map[string]sample{}}
	for _, part := range []struct {
		what string
		*outcome
	}{{"delivery", deliver}, {"login", logins}, {"fetch", fetches}} {
		for _, name := range part.contenders {
			key := name + ", " + part.what
			o.contenders = append(o.contenders, key)
			o.medians[key] = part.medians[name]
		}
		o.claim(atLeast(part.what+", times the empty store's rate", part.of(fullStore, rate)/part.of(emptyStore, rate), 0.65, 0.85))
	}
	return o, nil
}

// into is a contender that delivers to all mailboxes. If clear is set, the mail is removed
// after each turn.
func (b *bench) into(name string, s *station, clear bool) contender {
	senders := load.Senders{Connections: 16, Mailbox: load.Everywhere, Contents: load.NewContents(small...), For: b.turn}
	return contender{name, func(ctx context.Context) (sample, error) {
		f, err := b.deliver(ctx, s, s.book, senders)
		if err == nil && clear {
			err = s.collect(ctx, s.book)
		}
		return f, err
	}}
}

// sessions runs readers on both stores.
func (b *bench) sessions(ctx context.Context, full, empty *station, readers load.Readers) (*outcome, error) {
	turn := func(name string, s *station) contender {
		return contender{name, func(ctx context.Context) (sample, error) { return b.read(ctx, s, s.book, readers) }}
	}
	return b.contest(ctx, turn(fullStore, full), turn(emptyStore, empty))
}

// free returns the octets that are left for the servers. The file under the loop device is
// sparse, so the space on the disk below it counts too.
func (b *bench) free() int64 {
	least := int64(-1)
	for _, dir := range []string{b.dir, b.below} {
		var s unix.Statfs_t
		if unix.Statfs(dir, &s) != nil {
			continue
		}
		if n := int64(s.Bavail) * s.Bsize; least < 0 || n < least {
			least = n
		}
	}
	return least
}
