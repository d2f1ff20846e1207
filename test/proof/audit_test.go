package proof

import (
	"fmt"
	"sync"
)

// auditors is how many maildrops are audited concurrently.
const auditors = 4

// audit reads every maildrop of a server that nobody else uses, settles what was left
// open, and reports what is not as acknowledged. If thoroughly is set, it fetches and
// compares each message, else only those not seen before.
func (l *ledger) audit(s *server, thoroughly bool) {
	l.t.Helper()
	boxes := l.live()
	work := make(chan *box)
	var group sync.WaitGroup
	for range auditors {
		group.Go(func() {
			for b := range work {
				if err := l.auditBox(s, b, thoroughly); err != nil {
					l.t.Errorf("maildrop %s: %v", b.name, err)
				}
			}
		})
	}
	for _, b := range boxes {
		work <- b
	}
	close(work)
	group.Wait()
	l.settleMessages()
	for _, b := range boxes {
		l.compareWithPromises(s, b)
	}
}

// auditBox fetches the new messages of a maildrop, or all.
func (l *ledger) auditBox(s *server, b *box, thoroughly bool) error {
	c, all, err := visit(s.pop3, b.name)
	if err != nil {
		return err
	}
	defer c.close()
	if err := l.addUp(c, all); err != nil {
		return err
	}
	l.settleDeletions(b, all)
	l.mu.Lock()
	b.listed = map[string]bool{}
	l.mu.Unlock()
	for _, m := range all {
		l.mu.Lock()
		twice, known := b.listed[m.uidl], b.held[m.uidl] != ""
		b.listed[m.uidl] = true
		l.mu.Unlock()
		if twice {
			return fmt.Errorf("UIDL %s is listed twice", m.uidl)
		}
		if known && !thoroughly {
			continue
		}
		stored, err := c.retr(m)
		if err == nil {
			err = l.saw(b.name, m.uidl, stored)
		}
		if err != nil {
			l.t.Errorf("maildrop %s, message %s: %v", b.name, m.uidl, err)
		}
	}
	return c.quit(nil)
}

// addUp compares STAT with LIST.
func (l *ledger) addUp(c *pop3Client, all []listed) error {
	messages, octets, err := c.stat()
	if err != nil {
		return err
	}
	sum := 0
	for _, m := range all {
		sum += m.octets
	}
	if messages != len(all) || octets != sum {
		return fmt.Errorf("STAT says %d messages of %d octets, LIST %d of %d", messages, octets, len(all), sum)
	}
	return nil
}

// settleDeletions finds out what became of QUITs whose answer was lost. Either all of a
// session's marked messages must be gone, or none.
func (l *ledger) settleDeletions(b *box, all []listed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	there := map[string]bool{}
	for _, m := range all {
		there[m.uidl] = true
	}
	for len(b.pending) > 0 {
		d := b.pending[0]
		left := 0
		for _, uidl := range d.uidls {
			if there[uidl] {
				left++
			}
		}
		switch left {
		case 0:
			l.total.lateGone += len(d.uidls)
		case len(d.uidls):
			l.total.kept += len(d.uidls)
		default:
			l.t.Errorf("maildrop %s: of a QUIT with %d marks, %d messages are left", b.name, len(d.uidls), left)
		}
		l.settle(d, left == 0)
	}
}

// settleMessages finds out what became of messages whose answer was lost. A message found
// in one maildrop counts as accepted: compareWithPromises then expects it in all.
func (l *ledger) settleMessages() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.open {
		switch {
		case m.state != open: // its answer came after all
		case m.id == "":
			m.state = absent
		default:
			l.total.late++
			l.hold(m, m.id)
		}
		m.content = nil
	}
	l.open = nil
}

// compareWithPromises compares a maildrop with what it must have: every message that was
// accepted for it, but for those of an alias that it was left out of by the log.
func (l *ledger) compareWithPromises(s *server, b *box) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for uidl := range b.listed {
		if b.gone[uidl] {
			l.t.Errorf("maildrop %s: message %s came back after its deletion", b.name, uidl)
		}
	}
	for uidl, token := range b.held {
		if m := l.messages[token]; b.expected(uidl) && !b.listed[uidl] {
			if path := m.paths[b.name]; (path == everyone || path == again) && s.wasLeftOut(uidl, b.name) {
				delete(b.held, uidl)
				continue
			}
			l.t.Errorf("maildrop %s: message %s (%s, for %v) is lost", b.name, uidl, token, m.to)
		}
	}
}

// undelete brings back all that was ever deleted from a maildrop, whose retention keeps
// it. It expects each message once and unchanged, with a UIDL never used before.
func (l *ledger) undelete(s *server, local string) {
	l.t.Helper()
	s.do("", "maildrop", "undelete", address(local))
	c, err := dialPOP3(s.pop3, local)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.close()
	all, err := c.list()
	if err != nil {
		l.t.Fatal(err)
	}
	b := l.boxes[local]
	missing := map[string]bool{}
	unknown := 0 // messages that were deleted before anybody had read them
	for uidl := range b.gone {
		if token := b.held[uidl]; token != "" {
			missing[token] = true
		} else {
			unknown++
		}
	}
	back := 0
	for _, m := range all {
		if b.gone[m.uidl] {
			l.t.Errorf("maildrop %s: a message came back under its old UIDL %s", local, m.uidl)
		}
		if b.held[m.uidl] != "" {
			continue
		}
		stored, err := c.retr(m)
		if err != nil {
			l.t.Fatal(err)
		}
		token, digest, _, err := recognise(stored)
		sent := l.messages[token]
		switch {
		case err != nil:
			l.t.Error(err)
		case sent == nil || sent.digest != digest:
			l.t.Errorf("maildrop %s: message %s came back otherwise than it was sent", local, token)
		case missing[token]:
			delete(missing, token)
			back++
		case unknown > 0 && sent.id == "":
			unknown--
			back++
		default:
			l.t.Errorf("maildrop %s: message %s came back, which was not deleted", local, token)
		}
	}
	if len(missing)+unknown > 0 {
		l.t.Errorf("maildrop %s: of the deleted messages %d did not come back", local, len(missing)+unknown)
	}
	l.t.Logf("%d deleted messages brought back", back)
}
