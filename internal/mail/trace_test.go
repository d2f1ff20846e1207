package mail_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	netmail "net/mail"

	"mailsrv/internal/mail"
)

func envelope() *mail.Envelope {
	return &mail.Envelope{
		ID: "abcdefghijklmnopqrstuvwxyz",
		Client: mail.Client{
			Addr:     netip.MustParseAddr("192.0.2.1"),
			Helo:     "mx.example.org",
			Protocol: mail.ProtocolName(true, true, false),
			TLS:      "TLS1.3 TLS_AES_128_GCM_SHA256",
		},
		Received: time.Date(2026, 11, 23, 6, 19, 7, 123, time.FixedZone("", 3600)),
	}
}

func TestReceived(t *testing.T) {
	got := mail.Received(envelope(), "mail.me.com", parse(t, `"lo ok"@me.com`))
	const want = "Received: from mx.example.org ([192.0.2.1])\r\n" +
		"\tby mail.me.com with ESMTPS (TLS1.3 TLS_AES_128_GCM_SHA256) id abcdefghijklmnopqrstuvwxyz\r\n" +
		"\tfor <\"lo ok\"@me.com>;\r\n" +
		"\tMon, 23 Nov 2026 05:19:07 +0000\r\n"
	if got != want {
		t.Errorf("got %q", got)
	}
}

// RFC 5321 section 7.2: one recipient must not learn of the others.
func TestReceivedWithoutFor(t *testing.T) {
	got := mail.Received(envelope(), "mail.me.com", mail.Address{})
	if strings.Contains(got, "for ") || !strings.Contains(got, "id abcdefghijklmnopqrstuvwxyz;\r\n\t") {
		t.Errorf("got %q", got)
	}
}

func TestReceivedHelo(t *testing.T) {
	for helo, want := range map[string]string{
		"":                               "unknown",
		"[192.0.2.1]":                    "[192.0.2.1]",
		"[IPv6:2001:db8::1]":             "[IPv6:2001:db8::1]",
		"my_host-1.example":              "my_host-1.example",
		"a b":                            "a?b",
		"a\r\nSubject: x":                "a??Subject:?x",
		"a (b) by c; d":                  "a??b??by?c??d",
		"bücher":                         "b??cher",
		strings.Repeat("a", 1000) + "\n": strings.Repeat("a", 255),
	} {
		e := envelope()
		e.Client.Helo = helo
		if got := mail.Received(e, "mail.me.com", mail.Address{}); !strings.HasPrefix(got, "Received: from "+want+" ([192.0.2.1])\r\n") {
			t.Errorf("%q: %q", helo, got)
		}
	}
}

func TestLiteral(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1":        "[192.0.2.1]",
		"::ffff:192.0.2.1": "[192.0.2.1]",
		"2001:db8::1":      "[IPv6:2001:db8::1]",
		"fe80::1%eth0":     "[IPv6:fe80::1]",
	} {
		if got := mail.Literal(mail.Client{Addr: netip.MustParseAddr(addr)}); got != want {
			t.Errorf("%s: %s", addr, got)
		}
	}
}

func TestReturnPathAndDeliveredTo(t *testing.T) {
	if got := mail.ReturnPath(mail.Address{}); got != "Return-Path: <>\r\n" {
		t.Errorf("null reverse-path: %q", got)
	}
	if got := mail.ReturnPath(parse(t, "look@me.com")); got != "Return-Path: <look@me.com>\r\n" {
		t.Errorf("got %q", got)
	}
	if got := mail.DeliveredTo(parse(t, `"lo ok"@me.com`)); got != "Delivered-To: \"lo ok\"@me.com\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestProtocolName(t *testing.T) {
	if got := mail.ProtocolName(false, true, false); got != "SMTP" { // RFC 3848 has no SMTPS
		t.Errorf("HELO under TLS: %s", got)
	}
	for want, got := range map[mail.Protocol]mail.Protocol{
		"SMTP":      mail.ProtocolName(false, false, false),
		"ESMTP":     mail.ProtocolName(true, false, false),
		"ESMTPS":    mail.ProtocolName(true, true, false),
		"UTF8SMTP":  mail.ProtocolName(true, false, true),
		"UTF8SMTPS": mail.ProtocolName(true, true, true),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// Whatever a client says: each trace field is one header field, folded as
// RFC 5322 section 2.2.3 asks, and as long at any other time.
func FuzzTrace(f *testing.F) {
	for _, helo := range []string{"", "mx.example.org", "a\r\nX: y", "a;b", "(", "\x00\xff", "ü", "[IPv6:::1]"} {
		f.Add(helo, "look@me.com", "look@me.com", []byte{192, 0, 2, 1}, int64(0))
		f.Add(helo, `a>; ("\@me.com`, `jörg <b>;@me.com`, make([]byte, 16), int64(1<<34))
	}
	f.Fuzz(func(t *testing.T, helo, from, to string, addr []byte, seconds int64) {
		reverse, err := mail.SplitAddress(from)
		if err != nil {
			reverse = mail.Address{}
		}
		forward, err := mail.SplitAddress(to)
		if err != nil {
			return
		}
		e := envelope()
		e.Client.Helo = helo
		if ip, ok := netip.AddrFromSlice(addr); ok {
			e.Client.Addr = ip
		}

		checkField(t, "Return-Path", mail.ReturnPath(reverse))
		checkField(t, "Delivered-To", mail.DeliveredTo(forward))
		received := mail.Received(e, "mail.me.com", forward)
		checkField(t, "Received", received)

		// The words of the field stand where they belong, and nowhere before.
		const by = ")\r\n\tby mail.me.com with ESMTPS (TLS1.3 TLS_AES_128_GCM_SHA256) id abcdefghijklmnopqrstuvwxyz\r\n\tfor <"
		said, rest, ok := strings.Cut(received, by)
		if !ok || strings.ContainsAny(said, "\t\r\n;<>\"\\") || strings.Count(said, " ") != 3 || strings.Count(said, "(") != 1 {
			t.Fatalf("field %q", received)
		}
		if !strings.HasPrefix(rest, forward.String()+">;\r\n\t") {
			t.Fatalf("field %q", received)
		}
		date := received[strings.LastIndex(received, ";")+1:]
		if when, err := netmail.ParseDate(strings.TrimSpace(date)); err != nil || !when.Equal(e.Received.Truncate(time.Second)) {
			t.Fatalf("date %q: %v, %v", date, when, err)
		}

		e.Received = time.Unix(seconds&(1<<37-1), 0) // until the year 6325
		if later := mail.Received(e, "mail.me.com", forward); len(later) != len(received) {
			t.Fatalf("%d octets at one time, %d at another", len(received), len(later))
		}
	})
}

// checkField checks that text is exactly one header field with this name.
func checkField(t *testing.T, name, text string) {
	t.Helper()
	lines, ended := strings.CutSuffix(text, "\r\n")
	if !ended || !strings.HasPrefix(lines, name+": ") {
		t.Fatalf("field %q", text)
	}
	for i, line := range strings.Split(lines, "\r\n") {
		if i > 0 && !strings.HasPrefix(line, "\t") || strings.TrimSpace(line) == "" || len(line) > 998 {
			t.Fatalf("line %q of field %q", line, text)
		}
		for j := range len(line) {
			if c := line[j]; (c < 0x20 || c == 0x7F) && !(c == '\t' && j == 0) {
				t.Fatalf("octet %#x in field %q", c, text)
			}
		}
	}
}
