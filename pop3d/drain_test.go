package pop3d_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/auth"
	"mailsrv/pop3d"
	"mailsrv/test/kit"
)

func TestDrainTellsIdleSessions(t *testing.T) {
	s := start(t, nil)
	authorization := s.connect(t)
	exchange := s.connect(t)
	exchange.send("AUTH PLAIN\r\n")
	exchange.want("+ ")
	transaction := s.login(t, "alice@me.com")
	transaction.send("DELE 1\r\n")
	transaction.want("+OK")
	secure := &client{kit.On(t, s.dialTLS(t))}
	secure.want("+OK")
	// One that never begins its handshake must not hold up the end.
	silent, err := net.Dial("tcp", s.implicit)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, "all are accepted", func() bool { return s.group.Open() == 5 })

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	for _, c := range []*client{authorization, exchange, transaction, secure} {
		c.want("-ERR [SYS/TEMP] server is shutting down")
		if rest := c.wantEnd(); rest != "" {
			t.Errorf("after it came %q", rest)
		}
	}
	for range 2 {
		if err := <-s.served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	if left := s.store.left(alice); len(left) != 3 {
		t.Errorf("left %v", left)
	}
	if c, err := net.Dial("tcp", s.addr); err == nil {
		c.Close()
		t.Error("still listening")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l, false); err != nil {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}

// patience is an authenticator that holds every login back for good.
type patience struct{ authenticator }

func (patience) Login(ctx context.Context, _ netip.Addr, _, _ string) (auth.Login, error) {
	<-ctx.Done()
	return auth.Login{}, ctx.Err()
}

// What has not begun a transfer ends at once: a login that is held back, replies that
// nobody reads.
func TestDrainWaitsForTransfersAlone(t *testing.T) {
	s := start(t, func(c *pop3d.Config) { c.Auth = patience{} })
	var told []*client
	for _, login := range []string{"PASS secret\r\n", "AUTH PLAIN AGFsaWNlQG1lLmNvbQBzZWNyZXQ=\r\n"} {
		c := s.connect(t)
		c.send("USER alice@me.com\r\n")
		c.want("+OK")
		c.send(login)
		told = append(told, c)
	}
	deaf := s.connect(t)
	for { // until the server takes no more, since its replies do not leave
		deaf.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(deaf.Conn, strings.Repeat("CAPA\r\n", 10_000)); err != nil {
			break
		}
	}
	eventually(t, "the logins are held back", func() bool {
		busy := 0
		for _, one := range s.group.Sessions() {
			if !one.Waiting {
				busy++
			}
		}
		return busy == 3
	})
	ctx, cancel := context.WithTimeout(t.Context(), kit.Patience)
	defer cancel()
	begun := time.Now()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, c := range told {
		c.want("-ERR [SYS/TEMP] server is shutting down")
		c.wantEnd()
	}
}

// stalled starts a transfer that waits until the returned channel is closed.
func stalled(t *testing.T) (*setup, *client, chan struct{}) {
	stall := make(chan struct{})
	s := start(t, nil)
	s.store.put(bob, message{uidl: "s", text: "text\r\n", stall: stall})
	c := s.login(t, "bob@me.com")
	c.send("RETR 1\r\n")
	eventually(t, "the transfer begins", func() bool { return s.store.Reading() == 1 })
	return s, c, stall
}

func TestDrainLetsTransfersFinish(t *testing.T) {
	s, c, stall := stalled(t)
	idle := s.connect(t)
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		done <- s.Shutdown(ctx)
	}()
	idle.want("-ERR [SYS/TEMP]") // the drain has begun
	close(stall)
	c.want("+OK 6 octets")
	c.want("text")
	c.want(".")
	c.want("-ERR [SYS/TEMP] server is shutting down")
	c.wantEnd()
	if err := <-done; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestDrainCutsOffWhatDoesNotEnd(t *testing.T) {
	s, c, _ := stalled(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if rest := c.wantEnd(); rest != "" {
		t.Errorf("got %q", rest)
	}
}
