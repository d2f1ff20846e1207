package kit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"testing"
)

// serve answers each line of a client with the next reply, and then ends the connection.
func serve(t *testing.T, greeting string, replies ...string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, greeting)
		in := bufio.NewReader(c)
		for _, reply := range replies {
			in.ReadString('\n')
			io.WriteString(c, reply)
		}
	}()
	return l.Addr().String()
}

func TestClient(t *testing.T) {
	c := DialFrom(t, "127.0.0.1", serve(t, "220-one\r\n220 two\r\n", "250-a\r\n250-b\r\n250 c\r\n", "+OK\r\n", "-ERR-no\r\nrest"))
	for _, step := range []struct{ got, want string }{
		{c.Want("220"), "220 two"},
		{c.Do("EHLO x", "250 "), "250 c"},
		{c.Do("STAT", "+OK"), "+OK"},
		{c.Do("QUIT", "-ERR"), "-ERR-no"},
	} {
		if step.got != step.want {
			t.Errorf("got %q, want %q", step.got, step.want)
		}
	}
	if said, err := c.End(); said != "rest" || err != nil {
		t.Errorf("at the end %q, %v", said, err)
	}
}

// failing is a testing.TB that records a failure and ends its goroutine.
type failing struct {
	testing.TB
	said string
}

func (f *failing) Helper() {}
func (f *failing) Fatalf(format string, args ...any) {
	f.said = fmt.Sprintf(format, args...)
	panic(f)
}

func TestWrongReplyFailsTheTest(t *testing.T) {
	c := Dial(t, serve(t, "220-one\r\n554 no\r\n"))
	f := &failing{}
	c.T = f
	defer func() {
		if recover() != f || f.said != `got "554 no", want 220` {
			t.Errorf("failed with %q", f.said)
		}
	}()
	c.Want("220")
}

func TestSendTellsOfARefusal(t *testing.T) {
	ok := "250 ok\r\n"
	for want, replies := range map[int][]string{
		0:   {ok, ok, ok, "354 go on\r\n", ok, "221 bye\r\n"},
		550: {ok, ok, "550 no\r\n"},
		452: {ok, ok, ok, "354 go on\r\n", "452 no room\r\n"},
	} {
		err := Send(serve(t, "220 ready\r\n", replies...), "look@me.com", "")
		code := 0
		if refusal := (*textproto.Error)(nil); errors.As(err, &refusal) {
			code = refusal.Code
		}
		if code != want || (err == nil) != (want == 0) {
			t.Errorf("got %v, want %d", err, want)
		}
	}
}
