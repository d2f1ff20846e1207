package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"mailsrv/bench/load"
)

// Sizes of messages.
var (
	small = []load.Share{{Size: 4 << 10, Weight: 1}}
	mix   = load.Realistic
)

// clientTLS makes full handshakes only, with a key exchange that all servers know.
var clientTLS = &tls.Config{
	InsecureSkipVerify: true, // the certificate is made for the run
	CurvePreferences:   []tls.CurveID{tls.X25519},
}

// receiveRow is a row of receiving with the same senders for all contenders.
func receiveRow(sizes []load.Share, senders load.Senders, names []string, judge func(*outcome)) func(context.Context, *bench) (*outcome, error) {
	return func(ctx context.Context, b *bench) (*outcome, error) {
		senders.Mailbox = load.Everywhere
		senders.Contents = load.NewContents(sizes...)
		var contenders []contender
		for _, name := range names {
			c, err := b.receiver(ctx, name, senders)
			if err != nil {
				return nil, err
			}
			contenders = append(contenders, c)
		}
		o, err := b.contest(ctx, contenders...)
		if err == nil {
			judge(o)
		}
		return o, err
	}
}

// receiver returns a contender that receives mail.
func (b *bench) receiver(ctx context.Context, name string, senders load.Senders) (contender, error) {
	if write := appends[name]; write != nil {
		return contender{name, func(context.Context) (sample, error) { return write(b.dir, b.turn) }}, nil
	}
	s, err := b.station(ctx, name)
	if err != nil {
		return contender{}, err
	}
	// Send a few first, so that processes start, files grow and caches fill.
	warmUp := senders
	warmUp.Messages = 200
	if _, err := b.receive(ctx, s, s.book, warmUp); err != nil {
		return contender{}, fmt.Errorf("%s: %w", name, err)
	}
	senders.For = b.turn
	return contender{name, func(ctx context.Context) (sample, error) {
		return b.receive(ctx, s, s.book, senders)
	}}, nil
}

// receive measures senders, and then fetches, checks and removes what they sent.
func (b *bench) receive(ctx context.Context, s *station, book *load.Book, senders load.Senders) (sample, error) {
	f, err := b.deliver(ctx, s, book, senders)
	if err != nil {
		return nil, err
	}
	return f, s.collect(ctx, book)
}

// deliver measures senders and leaves the mail in the maildrops.
func (b *bench) deliver(ctx context.Context, s *station, book *load.Book, senders load.Senders) (sample, error) {
	if senders.Address == "" {
		senders.Address = s.SMTP
	}
	senders.Book = book
	stored := s.Stored()
	measured := b.watch(s)
	r := senders.Run(ctx)
	acknowledged := r.Rate()
	if stored >= 0 && r.Err() == nil {
		if err := s.AwaitStored(ctx, stored+r.Operations*max(senders.Recipients, 1)); err != nil {
			return nil, err
		}
		r.Elapsed = time.Since(r.Began)
	}
	f, err := figures(r, measured)
	if err == nil && stored >= 0 {
		f[accepted] = acknowledged
	}
	return f, err
}
