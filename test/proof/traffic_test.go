package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// event is a moment at which a server may be killed.
type event string

const (
	atContent event = "a long message half sent"
	atDot     event = "a message just sent"
	atQuit    event = "a QUIT with marks just sent"
	atCommand event = "a command of the administrator begun"
)

// traffic is senders, fetchers and an administrator that use one server.
type traffic struct {
	s     *server
	l     *ledger
	boxes []string       // mailboxes that are not removed
	admin *administrator // nil: none
	// allowed matches the refusals that the load may cause; nil: none. Those of
	// mailboxes that the administrator removes are allowed too.
	allowed *regexp.Regexp
	heard   atomic.Int64 // number of refusals that allowed matched

	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
	aim    event
	hit    chan struct{}
	ending atomic.Bool // failures are expected from now on
}

// newTraffic returns traffic that sends on hit when the event aim comes.
func newTraffic(s *server, l *ledger, boxes []string, aim event) *traffic {
	t := &traffic{s: s, l: l, boxes: boxes, aim: aim, hit: make(chan struct{}, 1)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// start starts senders and fetchers, a number of each.
func (t *traffic) start(r *rand.Rand, senders, fetchers int) {
	for range senders {
		r := fork(r)
		t.group.Go(func() { t.repeat("sender", func() error { return t.sendSome(r) }) })
	}
	for range fetchers {
		r := fork(r)
		t.group.Go(func() { t.repeat("fetcher", func() error { return t.fetchSome(r) }) })
	}
	if t.admin != nil {
		r := fork(r)
		t.group.Go(func() {
			for t.ctx.Err() == nil {
				t.reached(atCommand)
				t.admin.act(r)
			}
		})
	}
}

// repeat calls f until the traffic ends or the server is gone.
func (t *traffic) repeat(who string, f func() error) {
	for t.ctx.Err() == nil {
		if err := f(); err != nil {
			if !t.ending.Load() {
				t.l.t.Errorf("%s: %v", who, err)
			}
			return
		}
	}
}

// end stops the traffic and waits until it has ended.
func (t *traffic) end() {
	t.cancel()
	t.group.Wait()
}

func (t *traffic) reached(e event) {
	if e == t.aim {
		select {
		case t.hit <- struct{}{}:
		default:
		}
	}
}

// errHungUp says that a client itself closed the connection.
var errHungUp = errors.New("hung up")

// sendSome sends some messages on one connection.
func (t *traffic) sendSome(r *rand.Rand) error {
	c, err := dialSMTP(t.s.smtp, r.IntN(8) == 0)
	if err != nil {
		return err
	}
	defer c.close()
	for range 1 + r.IntN(6) {
		if t.ctx.Err() != nil {
			return nil
		}
		if r.IntN(8) == 0 {
			err = t.sendBurst(c, r)
		} else {
			err = t.sendOne(c, newMessage(r, anySize(r), t.someBoxes(r)...), manner{
				chunks: r.IntN(3) == 0, pieces: 1 + r.IntN(3),
			}, r.IntN(40) == 0)
		}
		switch {
		case errors.Is(err, errHungUp):
			return nil
		case err != nil:
			return err
		}
	}
	if r.IntN(3) > 0 {
		c.command("QUIT")
	}
	return nil
}

// someBoxes picks recipients: usually one, sometimes several, of which one may be about to
// be removed.
func (t *traffic) someBoxes(r *rand.Rand) []string {
	n := 1
	if r.IntN(3) == 0 {
		n = 2 + r.IntN(3)
	}
	var to []string
	for _, i := range r.Perm(len(t.boxes))[:min(n, len(t.boxes))] {
		to = append(to, t.boxes[i])
	}
	if t.admin != nil && r.IntN(4) == 0 {
		to = append(to, t.admin.passing()...)
	}
	return to
}

// sendOne sends a message and records the result. If vanish is set, it closes the
// connection in the middle of the content.
func (t *traffic) sendOne(c *smtpClient, m *message, how manner, vanish bool) error {
	taken, refused, err := c.envelope(len(m.content), m.to...)
	for local, r := range refused {
		t.judge(r, local)
	}
	if err != nil || len(taken) == 0 {
		return t.tolerate(err, m.to...)
	}
	m.to = taken
	t.l.begin(m)
	vanished := false
	id, err := c.content(m, how, hooks{
		middle: func() {
			if len(m.content) > 256<<10 {
				t.reached(atContent)
			}
			if vanish {
				vanished = true
				c.close()
			}
		},
		end:  func() { t.l.complete(m) },
		sent: func() { t.reached(atDot) },
	})
	return t.outcome(m, id, err, vanished)
}

// tolerate returns nil for a refusal that is allowed, after which the session goes on.
func (t *traffic) tolerate(err error, to ...string) error {
	var no *refusal
	if errors.As(err, &no) {
		t.judge(no.reply, to...)
		return nil
	}
	return err
}

// The replies for a mailbox that has just been removed: at RCPT, and at the end of content
// that is for others too.
var (
	removed      = regexp.MustCompile(`^550 5\.1\.1 `)
	removedSince = regexp.MustCompile(`^451 4\.2\.1 `)
)

// judge fails the test if a refusal of a message to these recipients is not allowed.
func (t *traffic) judge(r smtpReply, to ...string) {
	stays := func(local string) bool { return t.admin == nil || slices.Contains(t.boxes, local) }
	switch said := r.String(); {
	case t.allowed != nil && t.allowed.MatchString(said):
		t.heard.Add(1)
	case !slices.ContainsFunc(to, stays) && removed.MatchString(said):
	case t.admin != nil && len(to) > 1 && removedSince.MatchString(said):
	default:
		t.l.t.Errorf("a sender to %v heard %v", to, r)
	}
}

// outcome records the reply that a sender got.
func (t *traffic) outcome(m *message, id string, err error, vanished bool) error {
	var no *refusal
	switch {
	case err == nil:
		t.l.accept(m, id)
		m.content = nil
		return nil
	case errors.As(err, &no):
		t.judge(no.reply, m.to...)
		t.l.refuse(m)
		m.content = nil
		return nil
	case vanished:
		return errHungUp
	}
	return fmt.Errorf("send %s: %w", m.token, err)
}

// sendBurst sends some small messages without waiting for any reply.
func (t *traffic) sendBurst(c *smtpClient, r *rand.Rand) error {
	var all []*message
	for range 1 + r.IntN(6) {
		m := newMessage(r, r.IntN(6<<10), t.boxes[r.IntN(len(t.boxes))])
		all = append(all, m)
		t.l.begin(m)
		t.l.complete(m)
	}
	t.reached(atDot)
	var failed error
	c.burst(all, func(m *message, id string, err error) {
		if err := t.outcome(m, id, err, false); err != nil {
			failed = err
		}
	})
	return failed
}

// fetchSome is one session of a fetcher. It reads a few messages and marks many, so that
// the store stays small. It ends the session in one of all possible ways.
func (t *traffic) fetchSome(r *rand.Rand) error {
	local := t.boxes[r.IntN(len(t.boxes))]
	c, all, err := visit(t.s.pop3, local)
	if inUse(err) {
		time.Sleep(time.Millisecond)
		return nil
	}
	if err != nil {
		return err
	}
	defer c.close()
	for i := range min(3, len(all)) {
		m := all[(i*7919+r.IntN(len(all)))%len(all)]
		stored, err := c.retr(m)
		if err != nil {
			return err
		}
		if err := t.l.saw(local, m.uidl, stored); err != nil {
			t.l.t.Errorf("fetcher of %s, message %s: %v", local, m.uidl, err)
		}
	}
	d := t.l.mark(local)
	share := min(90, len(all)/2) // of messages to mark, in percent: more in a full maildrop
	for _, m := range all {
		if r.IntN(100) < share {
			if err := c.dele(m); err != nil {
				return err
			}
			d.uidls = append(d.uidls, m.uidl)
		}
	}
	switch n := r.IntN(10); {
	case n == 0: // gone without QUIT: nothing is deleted
		return nil
	case n == 1:
		d.uidls = nil
		if _, err := c.command("RSET"); err != nil {
			return err
		}
	}
	t.l.quit(d)
	err = c.quit(func() {
		if len(d.uidls) > 0 {
			t.reached(atQuit)
		}
	})
	var no denial
	switch {
	case err == nil:
		t.l.deleted(d)
	case errors.As(err, &no):
		t.l.spared(d)
		return fmt.Errorf("QUIT: %w", err)
	}
	return err
}
