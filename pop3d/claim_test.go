package pop3d_test

import (
	"context"
	"strings"
	"testing"

	"mailsrv/internal/mail"
	"mailsrv/pop3d"
	"mailsrv/storage"
)

// badClaims are claims that fail.
type badClaims struct {
	*store
	claimErr error
	holdErr  error
}

func (s *badClaims) Claim(ctx context.Context, id mail.MailboxID, c storage.Claimant) (storage.Claim, error) {
	claim, err := s.store.Claim(ctx, id, c)
	if s.claimErr != nil {
		return nil, s.claimErr
	}
	return &badClaim{claim, s.holdErr}, err
}

type badClaim struct {
	storage.Claim
	err error
}

func (c *badClaim) Hold(ctx context.Context) error {
	if c.err != nil {
		return c.err
	}
	return c.Claim.Hold(ctx)
}

// What is wrong with a claim is told to the log, and to the client that it may come back.
func TestClaimFails(t *testing.T) {
	bad := &badClaims{store: newStore(0), claimErr: errUnexpected}
	s := start(t, func(c *pop3d.Config) { c.Store = bad })
	if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "-ERR [SYS/TEMP] ") {
		t.Errorf("got %q", line)
	}
	eventually(t, "the log says why", func() bool { return strings.Contains(s.log.String(), errUnexpected.Error()) })
}

func TestHoldFails(t *testing.T) {
	for _, err := range []error{storage.ErrTaken, errUnexpected} {
		bad := &badClaims{store: newStore(0), holdErr: err}
		s := start(t, func(c *pop3d.Config) { c.Store = bad })
		c := s.login(t, "alice@me.com")
		c.send("DELE 1\r\nQUIT\r\n")
		c.want("-ERR [SYS/TEMP] ")
		c.wantEnd()
		if left := bad.left(alice); len(left) != 3 {
			t.Errorf("%v: left %q", err, left)
		}
		want := "maildrop taken over"
		if err == errUnexpected {
			want = errUnexpected.Error()
		}
		eventually(t, "the log says "+want, func() bool { return strings.Contains(s.log.String(), want) })
	}
}

// A store whose claims other servers may take finds out at the very change.
func TestQuitAfterATakeover(t *testing.T) {
	s := start(t, nil)
	c := s.login(t, "alice@me.com")
	c.send("DELE 1\r\n")
	c.want("+OK")
	s.store.fail("Update", storage.ErrTaken)
	c.send("QUIT\r\n")
	c.want("-ERR [SYS/TEMP] another session took this maildrop")
	c.wantEnd()
	if calls := s.store.called(); !strings.HasSuffix(calls, "Update") || len(s.store.left(alice)) != 3 {
		t.Errorf("%q, left %q", calls, s.store.left(alice))
	}
	if _, line := s.tryLogin(t, "alice@me.com"); !strings.HasPrefix(line, "+OK") {
		t.Errorf("the claim stayed behind: %q", line)
	}
}
