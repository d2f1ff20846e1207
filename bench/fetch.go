package main

import (
	"context"
	"fmt"

	"mailsrv/bench/load"
)

// perMaildrop is how many messages a session fetches.
const perMaildrop = 6

// pop3Servers are the contenders of the POP3 rows.
var pop3Servers = []string{mailsrv, postfix}

// readerRow is a row of POP3 sessions over all mailboxes. Before the first turn
// prepare brings each server's maildrops into the state that the row asks for,
// and before each turn refill does.
func (b *bench) readerRow(ctx context.Context, readers load.Readers, prepare, refill func(context.Context, *station) error) (*outcome, error) {
	var contenders []contender
	for _, name := range pop3Servers {
		s, err := b.station(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := s.warm(ctx, 0); err != nil {
			return nil, err
		}
		if err := prepare(ctx, s); err != nil {
			return nil, err
		}
		contenders = append(contenders, contender{name, func(ctx context.Context) (sample, error) {
			if err := refill(ctx, s); err != nil {
				return nil, err
			}
			return b.read(ctx, s, s.book, readers)
		}})
	}
	return b.contest(ctx, contenders...)
}

// read measures readers.
func (b *bench) read(ctx context.Context, s *station, book *load.Book, readers load.Readers) (sample, error) {
	readers.Address, readers.Book = s.POP3, book
	if readers.Rounds == 0 {
		readers.For = b.turn
	}
	measured := b.watch(s)
	return figures(readers.Run(ctx), measured)
}

// fill puts a number of messages into each mailbox of a book, and waits until they
// are there. Servers that have LMTP take them that way, which is faster.
func (s *station) fill(ctx context.Context, book *load.Book, each int, sizes []load.Share) error {
	senders := load.Senders{
		Address: s.SMTP, Connections: 16, Mailbox: load.Everywhere, Contents: load.NewContents(sizes...),
		Book: book, Messages: each * book.Mailboxes(),
	}
	if s.LMTP != "" {
		senders.Address, senders.LMTP = s.LMTP, true
	}
	stored := s.Stored()
	r := senders.Run(ctx)
	if err := r.Err(); err != nil {
		return fmt.Errorf("fill the maildrops of %s: %w", s.Name, err)
	}
	if stored < 0 {
		return nil
	}
	return s.AwaitStored(ctx, stored+r.Operations)
}

func nothingToDo(context.Context, *station) error { return nil }

// login is a row of sessions that connect, log in, STAT and QUIT, in empty maildrops.
func login(ctx context.Context, b *bench) (*outcome, error) {
	o, err := b.readerRow(ctx, load.Readers{Sessions: 16}, nothingToDo, nothingToDo)
	if err != nil {
		return nil, err
	}
	o.claim(times("Dovecot's rate", o.of(mailsrv, rate)/o.of(postfix, rate), 5, 6))
	o.claim(cost(o.of(mailsrv, cpu), 0.17, 0.13, "Dovecot", o.of(postfix, cpu), 1.36))
	return o, nil
}

// fetch is a row of sessions that fetch six messages and leave them.
func fetch(sizes []load.Share, owed, proud float64) func(context.Context, *bench) (*outcome, error) {
	return func(ctx context.Context, b *bench) (*outcome, error) {
		prepare := func(ctx context.Context, s *station) error {
			if err := s.fill(ctx, s.book, perMaildrop, sizes); err != nil {
				return err
			}
			// Once without measuring: Dovecot moves new messages.
			_, err := b.read(ctx, s, s.book, load.Readers{Sessions: 16, Fetch: perMaildrop, Rounds: 1})
			return err
		}
		o, err := b.readerRow(ctx, load.Readers{Sessions: 16, Fetch: perMaildrop}, prepare, nothingToDo)
		if err != nil {
			return nil, err
		}
		o.claim(times("Dovecot's rate", o.of(mailsrv, rate)/o.of(postfix, rate), owed, proud))
		return o, b.collectAll(ctx)
	}
}

// fetchAndDelete is a row of sessions that fetch six messages and delete them.
func fetchAndDelete(ctx context.Context, b *bench) (*outcome, error) {
	refill := func(ctx context.Context, s *station) error {
		if err := s.fill(ctx, s.book, perMaildrop, small); err != nil {
			return err
		}
		return b.settle(ctx)
	}
	readers := load.Readers{Sessions: 16, Fetch: perMaildrop, Delete: true, Rounds: 1}
	o, err := b.readerRow(ctx, readers, nothingToDo, refill)
	if err != nil {
		return nil, err
	}
	o.claim(times("Dovecot's rate", o.of(mailsrv, rate)/o.of(postfix, rate), 3, 5))
	return o, b.collectAll(ctx)
}

// pipelined is a row of one session that fetches a full maildrop, with 32 RETR sent ahead.
func pipelined(ctx context.Context, b *bench) (*outcome, error) {
	const deep = 2000
	var contenders []contender
	for _, name := range pop3Servers {
		s, err := b.station(ctx, name)
		if err != nil {
			return nil, err
		}
		book := s.spareBook(0)
		if err := s.fill(ctx, book, deep, small); err != nil {
			return nil, err
		}
		readers := load.Readers{Sessions: 1, Fetch: deep, Pipeline: 32}
		once := readers
		once.Rounds = 1
		if _, err := b.read(ctx, s, book, once); err != nil {
			return nil, err
		}
		contenders = append(contenders, contender{name, func(ctx context.Context) (sample, error) {
			f, err := b.read(ctx, s, book, readers)
			for _, m := range []metric{p50, p95, p99} { // they mean nothing for commands sent ahead
				delete(f, m)
			}
			return f, err
		}})
	}
	o, err := b.contest(ctx, contenders...)
	if err != nil {
		return nil, err
	}
	o.claim(times("Dovecot's rate", o.of(mailsrv, rate)/o.of(postfix, rate), 1.3, 2))
	return o, nil
}

// collectAll fetches and checks all mail at the end of a row. Every message that was
// accepted must be there.
func (b *bench) collectAll(ctx context.Context) error {
	for _, s := range b.stations {
		if err := s.collect(ctx, s.book); err != nil {
			return err
		}
	}
	return nil
}
