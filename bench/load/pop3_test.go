package load

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// fakePOP3 serves one maildrop with these messages, given dot-stuffed, and writes a few
// octets at a time.
func fakePOP3(t *testing.T, messages ...string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveFake(c, messages)
		}
	}()
	return l.Addr().String()
}

func serveFake(c net.Conn, messages []string) {
	defer c.Close()
	say := func(text string) {
		for len(text) > 0 {
			n := min(len(text), 777)
			c.Write([]byte(text[:n]))
			text = text[n:]
		}
	}
	octets := 0
	for _, m := range messages {
		octets += len(m) - strings.Count(m, "\r\n..")
	}
	say("+OK hello\r\n")
	for in := bufio.NewScanner(c); in.Scan(); {
		word, argument, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "STAT":
			say(fmt.Sprintf("+OK %d %d\r\n", len(messages), octets))
		case "LIST":
			say("+OK\r\n.\r\n")
		case "RETR":
			var n int
			fmt.Sscan(argument, &n)
			say("+OK\r\n" + messages[n-1] + ".\r\n")
		case "QUIT":
			say("+OK\r\n")
			return
		default:
			say("+OK\r\n")
		}
	}
}

// maildrop returns a book of one mailbox, and messages that were accepted for it.
func maildrop(messages int, size int) (*Book, []string) {
	c := NewContents(Share{size, 1})
	b := NewBook([]Mailbox{{"look@me.com", "secret"}})
	var all []string
	for range messages {
		t := b.issue(Everywhere, 1)
		b.accepted([]token{t})
		all = append(all, string(fetched(c, t)))
	}
	return b, all
}

func collect(t *testing.T, b *Book, messages ...string) (r Result, missing, surplus int) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r = Readers{
		Address: fakePOP3(t, messages...), Sessions: 1, Book: b, Rounds: 1,
		Fetch: All, Delete: true, Pipeline: 4,
	}.Run(ctx)
	missing, surplus = b.Unsettled()
	return r, missing, surplus
}

func TestEverythingIsFetched(t *testing.T) {
	for _, size := range []int{4 << 10, 75 << 10, 500 << 10} {
		b, messages := maildrop(10, size)
		r, missing, surplus := collect(t, b, messages...)
		if r.Err() != nil || r.Operations != 10 || missing+surplus != 0 {
			t.Errorf("of %d octets: %d fetched, %d missing, %d too many, %v", size, r.Operations, missing, surplus, r.Err())
		}
	}
}

func TestFastWrongAnswersAreErrors(t *testing.T) {
	b, messages := maildrop(3, 4<<10)
	if _, missing, _ := collect(t, b, messages[:2]...); missing != 1 {
		t.Errorf("one message lost: %d missing", missing)
	}

	b, messages = maildrop(40, 4<<10)
	if _, _, surplus := collect(t, b, append(messages, messages[0])...); surplus != 1 {
		t.Errorf("one message stored twice: %d too many", surplus)
	}

	b, messages = maildrop(2, 4<<10)
	messages[1] = strings.Replace(messages[1], "Subject: m", "Subject: M", 1)
	if r, _, _ := collect(t, b, messages...); r.Err() == nil {
		t.Error("one octet changed, and no error")
	}

	b, _ = maildrop(1, 4<<10)
	_, others := maildrop(1, 4<<10)
	if r, _, _ := collect(t, b, others...); r.Err() == nil {
		t.Error("a message of another run, and no error")
	}
}

func TestMessagesInAWrongMaildropAreErrors(t *testing.T) {
	b := NewBook(make([]Mailbox, 100))
	sent := b.issue(7, 3)
	for mailbox := range 100 {
		belongs := b.belongs(sent, mailbox) == nil
		if want := mailbox == 7 || mailbox == 8 || mailbox == 9; belongs != want {
			t.Errorf("mailbox %d: %v", mailbox, belongs)
		}
	}
}

func TestEmptyListings(t *testing.T) {
	s, err := Dial(context.Background(), fakePOP3(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if lines, err := s.Listing("LIST"); err != nil || len(lines) != 0 {
		t.Errorf("%q, %v", lines, err)
	}
	if _, _, err := s.Stat(); err != nil {
		t.Error(err)
	}
}
