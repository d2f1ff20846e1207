package main_test

import (
	"encoding/json"
	"strings"
	"testing"

	"mailsrv/test/kit"
)

// An administrator sees who is connected, and ends one of them without harm.
func TestSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, "smtp.proxy_protocol: [127.0.0.9]")
	s.mailbox("look@me.com")
	if r := s.mailsrv("", "sessions", "list"); r.code != 1 || !strings.Contains(r.stderr, "no server runs here") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	s.start()
	if out := s.do("sessions", "list"); out != "No session is open.\n" {
		t.Errorf("got %s", out)
	}
	s.send("look@me.com", letter("one", ""))
	kit.DialFrom(t, "127.0.0.9", s.server.smtp) // a silent proxy is nobody's session
	sender, _ := dial(t, "127.0.0.2", s.server.smtp)
	sender.Do("EHLO client.example", "250")
	sender.Do("STARTTLS", "220")
	sender.Secure()
	sender.Do("EHLO client.example", "250")
	reader, _ := dial(t, "127.0.0.1", s.server.pop3)
	reader.Do("USER look@me.com", "+OK")
	reader.Do("PASS secret", "+OK")
	reader.Do("DELE 1", "+OK")

	var all []struct {
		ID, Proto, Client, Who, TLS string
		Waiting                     bool
	}
	kit.Await(t, "two sessions that wait", func() bool {
		if err := json.Unmarshal([]byte(s.do("sessions", "list", "--json")), &all); err != nil {
			t.Fatal(err)
		}
		return len(all) == 2 && all[0].Waiting && all[1].Waiting
	})
	one, two := all[0], all[1]
	if one.Proto != "smtp" || one.Client != "127.0.0.2" || one.Who != "client.example" || !strings.HasPrefix(one.TLS, "TLS1.3 ") ||
		two.Proto != "pop3" || two.Client != "127.0.0.1" || two.Who != "look@me.com" || two.TLS != "" {
		t.Errorf("got %+v", all)
	}
	out := s.do("sessions", "list")
	for _, want := range []string{"ID ", one.ID + " ", "127.0.0.2", "client.example", "TLS1.3", "look@me.com", "waits"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if r := s.mailsrv("", "sessions", "end", "pop3-99999"); r.code != 1 || !strings.Contains(r.stderr, "there is no session pop3-99999: see: mailsrv sessions list") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	s.do("sessions", "end", one.ID, two.ID)
	sender.Want("421 4.3.2 Session ended by the administrator")
	reader.Want("-ERR [SYS/TEMP] the administrator ended this session")
	reader.ends()
	s.server.log.await(t, `msg="session end" proto=pop3`, `reason="ended by the administrator"`)
	s.server.log.await(t, `msg="session end" proto=smtp`, `reason="Session ended by the administrator, try again later"`)
	if got := s.do("maildrop", "list", "look@me.com", "--json"); strings.Count(got, `"uidl"`) != 1 {
		t.Errorf("the marked message is gone: %s", got)
	}
}
