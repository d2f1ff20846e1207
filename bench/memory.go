package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mailsrv/bench/load"
)

// processes is the number of a server's processes at the end of a turn.
const processes metric = "processes"

// idleSessions is a row of the memory that idle sessions take after their login, beyond
// that of a server that has just started.
func idleSessions(ctx context.Context, b *bench) (*outcome, error) {
	const sessions = 1000
	var contenders []contender
	for _, name := range pop3Servers {
		s, err := b.station(ctx, name)
		if err != nil {
			return nil, err
		}
		if err := b.settle(ctx); err != nil {
			return nil, err
		}
		before := s.Memory()
		if err := s.warm(ctx, 0); err != nil {
			return nil, err
		}
		contenders = append(contenders, contender{name, func(ctx context.Context) (sample, error) {
			// Hashing passwords has taken memory that is given back only during other work.
			if _, err := b.read(ctx, s, s.book, load.Readers{Sessions: 16}); err != nil {
				return nil, err
			}
			open, err := s.openSessions(ctx, sessions)
			defer func() {
				for _, session := range open {
					session.Close()
				}
			}()
			if err != nil {
				return nil, err
			}
			if err := pause(ctx, 5*time.Second); err != nil {
				return nil, err
			}
			return sample{
				memory:    mebibytes(s.Memory() - before),
				processes: float64(s.Processes()),
			}, nil
		}})
	}
	o, err := b.contest(ctx, contenders...)
	if err != nil {
		return nil, err
	}
	o.claim(atMost("memory added", "%.1f MiB", o.of(mailsrv, memory), 25, 16))
	return o, nil
}

// openSessions logs n mailboxes in, one after the other. The caller closes the sessions,
// also after an error.
func (s *station) openSessions(ctx context.Context, n int) (open []*load.Session, err error) {
	for i := range n {
		session, err := load.Dial(ctx, s.POP3)
		if err == nil {
			open = append(open, session)
			err = session.Login(s.all[i])
		}
		if err != nil {
			return open, fmt.Errorf("session %d: %w", i+1, err)
		}
	}
	return open, nil
}

// pause waits for the duration d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// flood is a row of many concurrent large messages, and of what they cost small ones.
func flood(ctx context.Context, b *bench) (*outcome, error) {
	const (
		senders = 50
		size    = 50_000_000
	)
	huge := load.NewContents(load.Share{Size: size, Weight: 1})
	turn := func(ctx context.Context) (sample, error) {
		defer b.close()
		s, err := b.station(ctx, mailsrv)
		if err != nil {
			return nil, err
		}
		paced := load.Senders{
			Address: s.SMTP, Connections: 4, Pace: 20 * time.Millisecond,
			Mailbox: load.Everywhere, Contents: load.NewContents(small...), Book: s.book, For: 2 * time.Second,
		}
		r := paced.Run(ctx) // before the flood
		if err := r.Err(); err != nil {
			return nil, err
		}
		if err := b.settle(ctx); err != nil {
			return nil, err
		}
		before := s.Anonymous()

		stopProfile := b.record(s)
		defer stopProfile()
		flooding, end := context.WithCancel(ctx)
		paced.For, paced.Until = 0, flooding.Done()
		var most int64
		var group sync.WaitGroup
		group.Go(func() {
			for flooding.Err() == nil {
				most = max(most, s.Anonymous())
				time.Sleep(20 * time.Millisecond)
			}
		})
		var meanwhile load.Result
		group.Go(func() { meanwhile = paced.Run(ctx) })
		big := load.Senders{
			Address: s.SMTP, Connections: senders, PerConnection: 1, Messages: senders,
			Mailbox: load.Everywhere, Contents: huge, Book: s.book,
		}.Run(ctx)
		end()
		group.Wait()
		if err := big.Err(); err != nil {
			return nil, fmt.Errorf("the large messages: %w", err)
		}
		if err := meanwhile.Err(); err != nil {
			return nil, fmt.Errorf("the small messages: %w", err)
		}
		return sample{
			memory: mebibytes(most - before),
			octets: float64(big.Octets) / 1e6 / big.Elapsed.Seconds(),
			rate:   meanwhile.Rate(),
			p50:    milliseconds(meanwhile.Latency(0.50)),
			p95:    milliseconds(meanwhile.Latency(0.95)),
			p99:    milliseconds(meanwhile.Latency(0.99)),
		}, s.collectBy(ctx, s.book, 2)
	}
	o, err := b.contest(ctx, contender{mailsrv, turn})
	if err != nil {
		return nil, err
	}
	o.claim(atMost("anonymous memory added", "%.0f MiB", o.of(mailsrv, memory), 96, 64))
	o.claim(atMost("p99 of 4 KiB deliveries meanwhile", "%.0f ms", o.of(mailsrv, p99), 100, 50))
	return o, nil
}

func mebibytes(octets int64) float64 { return float64(octets) / (1 << 20) }
