package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"mailsrv/bench/load"
)

// The number of messages in a large maildrop.
const (
	large      = 20_000
	largeQuick = 2_000
)

// Numbers of the spare mailboxes that these rows use.
const (
	largeSpare = 1
	emptySpare = 2
)

// Metrics of listing a maildrop, in ms from the command to the last octet of
// the answer.
const (
	loginTime metric = "USER to STAT ms" // from USER to the answer to STAT
	uidlTime  metric = "UIDL ms"
	listTime  metric = "LIST ms"
)

// largeMaildrop fills the large maildrop of a server, unless it is full.
func (b *bench) largeMaildrop(ctx context.Context, s *station) (book *load.Book, messages int, err error) {
	messages = large
	if b.quick {
		messages = largeQuick
	}
	if s.large == nil {
		s.large = s.spareBook(largeSpare)
		if err := s.fill(ctx, s.large, messages, small); err != nil {
			return nil, 0, err
		}
	}
	return s.large, messages, nil
}

// listLarge is a row of the first commands of a session in a large maildrop.
func listLarge(ctx context.Context, b *bench) (*outcome, error) {
	var contenders []contender
	for _, name := range pop3Servers {
		s, err := b.station(ctx, name)
		if err != nil {
			return nil, err
		}
		_, messages, err := b.largeMaildrop(ctx, s)
		if err != nil {
			return nil, err
		}
		mailbox := s.all[s.book.Mailboxes()+largeSpare]
		turn := func(ctx context.Context) (sample, error) { return listings(ctx, s, mailbox, messages) }
		if _, err := turn(ctx); err != nil { // once without measuring: Dovecot indexes new messages
			return nil, err
		}
		contenders = append(contenders, contender{name, turn})
	}
	o, err := b.contest(ctx, contenders...)
	if err != nil {
		return nil, err
	}
	for _, m := range []metric{loginTime, uidlTime, listTime} {
		name, _, _ := bytes.Cut([]byte(m), []byte(" ms"))
		o.claim(atMost(string(name)+", of Dovecot's time", "%.2f", o.of(mailsrv, m)/o.of(postfix, m), 1./3, 1./4))
	}
	return o, nil
}

// listings measures sessions, one after the other.
func listings(ctx context.Context, s *station, mailbox load.Mailbox, messages int) (sample, error) {
	const sessions = 15
	times := map[metric][]time.Duration{}
	began, before := time.Now(), s.CPU()
	for range sessions {
		session, err := load.Dial(ctx, s.POP3)
		if err != nil {
			return nil, err
		}
		defer session.Close()
		began := time.Now()
		lap := func(m metric) {
			now := time.Now()
			times[m] = append(times[m], now.Sub(began))
			began = now
		}
		if err := session.Login(mailbox); err != nil {
			return nil, err
		}
		n, _, err := session.Stat()
		if err != nil {
			return nil, err
		}
		lap(loginTime)
		if n != messages {
			return nil, fmt.Errorf("STAT says %d messages, not %d", n, messages)
		}
		for _, command := range []struct {
			line string
			metric
		}{{"UIDL", uidlTime}, {"LIST", listTime}} {
			began = time.Now()
			answer, err := session.Listing(command.line)
			if err != nil {
				return nil, err
			}
			lap(command.metric)
			if n := bytes.Count(answer, []byte("\r\n")); n != messages {
				return nil, fmt.Errorf("%s gave %d lines, not %d", command.line, n, messages)
			}
		}
		if err := session.Quit(); err != nil {
			return nil, err
		}
	}
	f := sample{
		rate: sessions / time.Since(began).Seconds(),
		cpu:  milliseconds(s.CPU()-before) / sessions,
	}
	for m, all := range times {
		slices.Sort(all)
		f[m] = milliseconds(all[len(all)/2])
	}
	return f, nil
}

// Contenders of the row of deliveries into one maildrop.
const (
	intoLarge = "mailsrv, into the large one"
	intoEmpty = "mailsrv, into an empty one"
)

// deliverLarge is a row of deliveries into a large maildrop and into an empty one, of the
// same server.
func deliverLarge(ctx context.Context, b *bench) (*outcome, error) {
	s, err := b.station(ctx, mailsrv)
	if err != nil {
		return nil, err
	}
	full, _, err := b.largeMaildrop(ctx, s)
	if err != nil {
		return nil, err
	}
	empty := s.spareBook(emptySpare)
	// The turn ends by number, not by time, so that the empty maildrop stays small.
	senders := load.Senders{Connections: 16, Mailbox: load.Everywhere, Contents: load.NewContents(small...), Messages: 5000}
	if b.quick {
		senders.Messages = 1000
	}
	into := func(name string, book *load.Book, clear bool) contender {
		return contender{name, func(ctx context.Context) (sample, error) {
			f, err := b.deliver(ctx, s, book, senders)
			if err == nil && clear {
				err = s.collect(ctx, book)
			}
			return f, err
		}}
	}
	if _, err := into("", empty, true).turn(ctx); err != nil { // once, unmeasured
		return nil, err
	}
	o, err := b.contest(ctx, into(intoLarge, full, false), into(intoEmpty, empty, true))
	if err != nil {
		return nil, err
	}
	// Turns vary by some percent, so 0.95 counts as equally fast.
	o.claim(atLeast("times the rate into an empty one", o.of(intoLarge, rate)/o.of(intoEmpty, rate), 0.95, 1))
	return o, s.collect(ctx, full)
}
