package main_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/test/kit"
)

// A message keeps its name, and all its octets, whatever happens to the server.
func TestUIDLsOutliveTheServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.send("look@me.com", letter("one", "a\r\nb\r\n"))
	s.send("look@me.com", letter("two", ""))
	s.send("look@me.com", letter("three", ""))
	s.pop3("/", "-I", "-X", "DELE 2")
	uidls, first := s.pop3("/", "-X", "UIDL"), s.pop3("/1")
	for _, end := range []func(){s.stop, s.kill} {
		end()
		s.start()
		same(t, "UIDL", s.pop3("/", "-X", "UIDL"), uidls)
		same(t, "message 1", s.pop3("/1"), first)
		same(t, "TOP", s.pop3("/", "-X", "TOP 1 1"), strings.TrimSuffix(first, "b\r\n"))
	}
	// New mail comes behind, under a name of its own.
	s.send("look@me.com", letter("four", ""))
	after := s.pop3("/", "-X", "UIDL")
	name := strings.Fields(strings.TrimPrefix(after, uidls))
	if !strings.HasPrefix(after, uidls) || len(name) != 2 || name[0] != "3" || strings.Contains(uidls, name[1]) {
		t.Errorf("got %q after %q", after, uidls)
	}
}

// A 250 is a promise: what was acknowledged is there after kill -9, whole, and
// nothing is there by halves.
func TestKilledServerKeepsWhatItAccepted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	const senders, enough = 4, 60
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 100)
	large := strings.Repeat(body, 100) // is staged in pieces

	var mu sync.Mutex
	accepted := map[string]string{} // content by subject
	reached := make(chan struct{})
	address := s.server.smtp
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for n := 0; ; n++ {
				subject := fmt.Sprintf("%d-%d", sender, n)
				text := letter(subject, body)
				if n%8 == 7 {
					text = letter(subject, large)
				}
				if kit.Send(address, "look@me.com", text) != nil {
					return // the server is gone
				}
				mu.Lock()
				accepted[subject] = text
				if len(accepted) == enough {
					close(reached)
				}
				mu.Unlock()
			}
		})
	}
	// A message of which only a part has come.
	d := begin(t, s)
	fmt.Fprintf(d, "Subject: half\r\n\r\n%s", large)
	select {
	case <-reached:
	case <-time.After(patience):
		t.Error("too few messages were accepted")
	}
	s.kill()
	all.Wait()

	s.start()
	kept := map[string]string{}
	count := strings.Count(s.pop3("/"), "\n")
	for n := 1; n <= count; n++ {
		message := content(t, s.pop3(fmt.Sprintf("/%d", n)))
		_, subject, _ := strings.Cut(message, "Subject: ")
		subject, _, _ = strings.Cut(subject, "\r\n")
		if kept[subject] != "" {
			t.Errorf("%s is there twice", subject)
		}
		kept[subject] = message
	}
	for subject, text := range accepted {
		same(t, subject, kept[subject], text)
	}
	// One for each sender may have been committed without the answer arriving.
	if len(kept) > len(accepted)+senders || kept["half"] != "" {
		t.Errorf("%d messages kept, %d accepted", len(kept), len(accepted))
	}
}
