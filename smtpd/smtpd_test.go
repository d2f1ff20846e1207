package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"mailsrv/smtpd"
	"mailsrv/test/kit"
	"mailsrv/test/transcript"
)

func TestTranscripts(t *testing.T) {
	w := newWorld(t)
	transcript.RunDir(t, "testdata", func(t *testing.T) net.Conn { return kit.Dial(t, w.addr).Conn }, clientTLS)
}

// RFC 5321 section 4.4: Return-Path, Delivered-To and Received, in this order.
func TestTraceFields(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.do("EHLO evil) by forged.example; (", "250")
	c.do(`MAIL FROM:<"al ice"@Example.ORG>`, "250")
	c.do("RCPT TO:<Look+Tag@ME.com>", "250")
	id := strings.TrimSpace(strings.TrimPrefix(deliverBy(c, "Subject: x\r\n\r\ny\r\n"), "250 2.0.0 accepted, id "))
	want := regexp.MustCompile(`\AReturn-Path: <"al ice"@example\.org>\r\n` +
		`Delivered-To: Look\+Tag@me\.com\r\n` +
		`Received: from evil\? \(\[127\.0\.0\.1\]\)\r\n\tby mail\.me\.com with ESMTP id ` + id + `\r\n` +
		`\tfor <Look\+Tag@me\.com>;\r\n\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n` +
		`Subject: x\r\n\r\ny\r\n\z`)
	if got := w.messages("look@me.com"); len(got) != 1 || !want.MatchString(got[0]) {
		t.Errorf("got %q, want %s", got, want)
	}
}

// deliverBy sends content by DATA in an open transaction and returns the reply.
func deliverBy(c *client, text string) string {
	c.T.Helper()
	c.do("DATA", "354")
	c.say(text + ".\r\n")
	return c.want("250")
}

// One copy a mailbox, whoever leads there, and no recipient learns of another.
func TestOneCopyPerMailbox(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.startTLS()
	c.envelope("look@me.com", "all@me.com", "LOOK@me.com", "x@catch.example")
	deliverBy(c, "x\r\n")
	got := w.messages("look@me.com")
	if len(got) != 1 || strings.Contains(got[0], "\tfor ") || !strings.Contains(got[0], "with ESMTPS (TLS1.3 ") ||
		strings.Count(got[0], "Delivered-To:") != 1 {
		t.Errorf("look has %q", got)
	}
	if got := w.messages("small@me.com"); len(got) != 1 || !strings.Contains(got[0], "Delivered-To: all@me.com\r\n") {
		t.Errorf("small has %q", got)
	}
}

// The canonical form does not depend on how the content came.
func TestContent(t *testing.T) {
	w := newWorld(t)
	for sent, want := range map[string]string{
		"":                                 "",
		"a\r\n":                            "a\r\n",
		"..\r\n...x\r\n":                   ".\r\n..x\r\n",
		"a\nb\r\n":                         "a\r\nb\r\n",
		"a\rb\r\n":                         "a b\r\n",
		"a\r\r\n":                          "a\r\n",
		"a\n.\nb\r\n":                      "a\r\n.\r\nb\r\n",
		"a\r.\rb\r\n":                      "a . b\r\n",
		"a\n.\r\nb\r\n":                    "a\r\n.\r\nb\r\n",
		"a\r\n.\nb\r\n":                    "a\r\n\r\nb\r\n", // a lone dot was stuffing, and a bare LF followed
		".\rx\r\n":                         " x\r\n",         // TRAPS: the CR after a dot must not be lost
		"\x00\xff\x80\r\n":                 "\x00\xff\x80\r\n",
		strings.Repeat("x", 9000) + "\r\n": strings.Repeat("x", 9000) + "\r\n",
	} {
		c := w.connect()
		c.envelope("look@me.com")
		deliverBy(c, sent)
		if want != "" {
			want = "\r\n" + want // none of these begins with a header field
		}
		got := w.messages("look@me.com")
		if last := content(got[len(got)-1]); last != want {
			t.Errorf("DATA %.60q stored %.60q, want %.60q", sent, last, want)
		}
	}
	// The same through BDAT, where dots are nothing special, in every cut.
	text := "a\r\n.\r\n\rb\nc"
	for cut := range len(text) + 1 {
		c := w.connect()
		c.envelope("look@me.com")
		c.say(fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", cut, text[:cut], len(text)-cut, text[cut:]))
		c.want("250")
		c.want("250 2.0.0 accepted")
		got := w.messages("look@me.com")
		if last := content(got[len(got)-1]); last != "\r\na\r\n.\r\n b\r\nc\r\n" {
			t.Errorf("BDAT cut at %d stored %q", cut, last)
		}
	}
}

// The limit counts octets as sent, and is the same for SIZE, DATA and BDAT.
func TestSizeLimit(t *testing.T) {
	w := newWorld(t)
	line := strings.Repeat("x", 98) + "\r\n"
	exact := strings.Repeat(line, maxMessage/100)
	for _, by := range []string{"DATA", "BDAT"} {
		for over, code := range map[int]string{0: "250", 1: "552 5.3.4"} {
			c := w.connect()
			c.envelope("look@me.com")
			text := exact[:len(exact)-2] + strings.Repeat("y", over) + "\r\n"
			if by == "DATA" {
				c.do("DATA", "354")
				c.say(text + ".\r\n")
			} else {
				c.say(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
			}
			c.want(code)
			c.do("NOOP", "250")
		}
	}
	// Stuffed dots and normalised line ends do not count.
	c := w.connect()
	c.envelope("look@me.com")
	deliverBy(c, strings.Repeat("..\n", (maxMessage-3)/3)+"\r\n")
	if n := len(w.messages("look@me.com")); n != 3 {
		t.Errorf("%d messages stored, want 3", n)
	}
}

// TRAPS: `BDAT n LAST` that is cut off reaches the library's backend as whole.
func TestTruncatedChunkIsNotStored(t *testing.T) {
	for name, secure := range map[string]bool{"FIN": false, "close_notify": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := w.connect()
			if secure {
				c.startTLS()
			}
			c.envelope("look@me.com")
			c.say("BDAT 100 LAST\r\nonly this")
			if secure {
				c.Close()
			} else {
				c.Conn.(*net.TCPConn).CloseWrite()
				c.wantEnd()
			}
			w.drained()
			if got := w.messages("look@me.com"); len(got) != 0 {
				t.Errorf("stored %q", got)
			}
		})
	}
}

// A refused chunk that comes after the refusal is thrown away like any other.
func TestRefusedChunkMayComeLate(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.do("BDAT 5 LAST", "503")
	c.say("hello")
	c.do("NOOP", "250")
}

// drained waits until no session is left, by shutting the server down.
func (w *world) drained() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(background, 5*time.Second)
	defer cancel()
	must(w.t, w.server.Shutdown(ctx))
}

// TRAPS: a stalled DATA must not end in 554, nor its rest be read as commands.
func TestStalledContent(t *testing.T) {
	quick := func(s *smtpd.Settings) { s.DataIdleTimeout = 50 * time.Millisecond }
	for _, begin := range []string{"DATA\r\n", "BDAT 1000\r\n", "BDAT 1000 LAST\r\n"} {
		w := newWorld(t, quick)
		c := w.connect()
		c.envelope("look@me.com")
		c.say(begin)
		if strings.HasPrefix(begin, "DATA") {
			c.want("354")
		}
		c.say("Subject: slow\r\n\r\nMAIL FROM:<x@y.example>\r\n")
		c.want("421 4.4.2")
		c.wantEnd()
		if got := w.messages("look@me.com"); len(got) != 0 {
			t.Errorf("%q stored %q", begin, got)
		}
	}
}

// A sender that vanishes anywhere in a transaction leaves nothing behind.
func TestVanishingSender(t *testing.T) {
	w := newWorld(t)
	whole := "HELO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<look@me.com>\r\nDATA\r\nSubject: x\r\n\r\nyz\r\n."
	for n := range len(whole) + 1 {
		c := kit.Dial(t, w.addr)
		c.Write([]byte(whole[:n]))
		c.Close()
	}
	w.drained()
	if got := w.messages("look@me.com"); len(got) != 0 {
		t.Errorf("stored %q", got)
	}
}

func TestLongLines(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for _, n := range []int{2100, 9000, 60000} {
		c.do("NOOP "+strings.Repeat("x", n), "500 5.5.2")
		c.do("NOOP", "250")
	}
	c.say("NOOP " + strings.Repeat("x", 200_000))
	c.want("500 5.5.2")
}

func TestLongLinesHaveAnEnd(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	for range 10 {
		c.do("NOOP "+strings.Repeat("x", 2100), "500 5.5.2")
	}
	c.do("NOOP "+strings.Repeat("x", 2100), "421 4.7.0")
	c.wantEnd()
}

// TestSettingsReplaceTheLibrary: a limit that changes leaves nothing behind but the
// sessions that began before, which go on.
func TestSettingsReplaceTheLibrary(t *testing.T) {
	w := newWorld(t)
	old := w.connect()
	set := func(recipients int) {
		w.server.SetSettings(smtpd.Settings{MaxRecipients: recipients, MaxMessageSize: maxMessage, CommandTimeout: 10 * time.Second, DataIdleTimeout: 10 * time.Second, MinRate: 1024})
	}
	set(1)
	before := runtime.NumGoroutine()
	for range 50 {
		set(2)
		set(1)
	}
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if now := runtime.NumGoroutine(); now > before {
		t.Errorf("%d goroutines, then %d", before, now)
	}
	old.envelope("look@me.com", "look@xn--bcher-kva.example")
	fresh := w.connect()
	fresh.envelope("look@me.com")
	fresh.do("RCPT TO:<look@xn--bcher-kva.example>", "452")
}

func TestHops(t *testing.T) {
	w := newWorld(t)
	hop := "Received: by x.example;\r\n\tfolded\r\n"
	for n, code := range map[int]string{100: "250", 101: "554 5.4.6"} {
		c := w.connect()
		c.envelope("look@me.com")
		c.do("DATA", "354")
		c.say(strings.Repeat(hop, n) + "Subject: x\r\n\r\n" + strings.Repeat(hop, 50) + ".\r\n")
		c.want(code)
	}
}

func TestIdleTimeout(t *testing.T) {
	w := newWorld(t, func(s *smtpd.Settings) { s.CommandTimeout = 50 * time.Millisecond })
	idle := newIdle(t, w)
	idle.say("NOO") // an unfinished command is no life
	idle.want("421 4.4.2")
	idle.wantEnd()
}

func newIdle(t *testing.T, w *world) *client {
	c := &client{kit.Dial(t, w.addr)}
	c.want("220")
	return c
}

// A client that reads no reply gets no further ones, and nothing it says is obeyed.
func TestSenderThatNeverReadsIsEnded(t *testing.T) {
	w := newWorld(t)
	w.server.SetSettings(smtpd.Settings{MaxRecipients: 5, MaxMessageSize: maxMessage, CommandTimeout: 50 * time.Millisecond, DataIdleTimeout: 10 * time.Second})
	c := kit.Dial(t, w.addr)
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	many := strings.Repeat("EHLO x\r\n", 10_000) // long replies
	var err error
	for err == nil {
		_, err = io.WriteString(c, many)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the session goes on")
	}
}

// A peer that stalls in the handshake is sent away, and holds up nobody meanwhile.
func TestStalledHandshake(t *testing.T) {
	stall := func(w *world, hello string) *client {
		c := w.connect()
		c.do("STARTTLS", "220")
		c.say(hello)
		return c
	}
	patient := newWorld(t)
	quick := newWorld(t, func(s *smtpd.Settings) { s.HandshakeTimeout = 50 * time.Millisecond })
	for _, hello := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		stall(patient, hello)
		patient.send("look@me.com", "x\r\n")
		stall(quick, hello).wantEnd()
	}
	stall(patient, "NOOP\r\n").wantEnd() // nor is what is no handshake read as commands
}

func TestRefusedRecipientFlood(t *testing.T) {
	w := newWorld(t)
	c := w.connect()
	c.do("MAIL FROM:<a@example.org>", "250")
	for i := range 50 {
		c.do(fmt.Sprintf("RCPT TO:<u%d@me.com>", i), "550")
	}
	c.do("RCPT TO:<last@me.com>", "421 4.7.0")
	c.wantEnd()
}

// TRAPS: Shutdown must end idle sessions, and let a running transfer finish.
func TestShutdown(t *testing.T) {
	w := newWorld(t)
	idle := w.connect()
	busy := w.connect()
	busy.envelope("look@me.com")
	busy.do("DATA", "354")
	busy.say("Subject: x\r\n")
	w.atWork(1)
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(background, 5*time.Second)
		defer cancel()
		done <- w.server.Shutdown(ctx)
	}()
	idle.want("421 4.3.2")
	idle.wantEnd()
	if _, err := net.Dial("tcp", w.addr); err == nil {
		t.Error("the server still takes connections")
	}
	busy.say("\r\nx\r\n.\r\n")
	busy.want("250 2.0.0 accepted")
	busy.want("421 4.3.2")
	must(t, <-done)
	if n := len(w.messages("look@me.com")); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// atWork waits until so many sessions do something else than to wait for a command.
func (w *world) atWork(n int) {
	w.t.Helper()
	kit.Await(w.t, "sessions at work", func() bool {
		busy := 0
		for _, s := range w.group.Sessions() {
			if !s.Waiting {
				busy++
			}
		}
		return busy == n
	})
}

// What has not begun a transfer ends at once: a handshake that never comes, content of
// which no octet has come, replies that nobody reads.
func TestShutdownWaitsForTransfersAlone(t *testing.T) {
	w := newWorld(t, func(s *smtpd.Settings) {
		s.HandshakeTimeout, s.CommandTimeout, s.DataIdleTimeout = time.Hour, time.Hour, time.Hour
	})
	transfer := func(secure bool, begin string) *client {
		c := w.connect()
		if secure {
			c.startTLS()
		}
		c.envelope("look@me.com")
		c.say(begin)
		return c
	}
	var told []*client
	for _, secure := range []bool{false, true} {
		c := transfer(secure, "DATA\r\n")
		c.want("354")
		told = append(told, c, transfer(secure, "BDAT 5\r\n"), transfer(secure, "BDAT 5 LAST\r\n"))
		c = transfer(secure, "BDAT 0\r\n")
		c.want("250")
		told = append(told, c)
	}
	var silent []*client
	for _, hello := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		c := w.connect()
		c.do("STARTTLS", "220")
		c.say(hello)
		silent = append(silent, c)
	}
	w.atWork(0)
	deaf := w.connect()
	for { // until the server takes no more, since its replies do not leave
		deaf.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := io.WriteString(deaf.Conn, strings.Repeat("EHLO x\r\n", 10_000)); err != nil {
			break
		}
	}
	w.atWork(1)
	ctx, cancel := context.WithTimeout(background, kit.Patience)
	defer cancel()
	begun := time.Now()
	must(t, w.server.Shutdown(ctx))
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	for _, c := range told {
		c.want("421 4.3.2")
		c.wantEnd()
	}
	for _, c := range silent {
		c.wantEnd()
	}
	if n := len(w.messages("look@me.com")); n != 0 {
		t.Errorf("%d messages, want none", n)
	}
}

// A drain that takes too long closes what is left.
func TestShutdownDeadline(t *testing.T) {
	w := newWorld(t)
	busy := w.connect()
	busy.envelope("look@me.com")
	busy.do("DATA", "354")
	busy.say("x")
	w.atWork(1)
	ctx, cancel := context.WithTimeout(background, 50*time.Millisecond)
	defer cancel()
	if err := w.server.Shutdown(ctx); err == nil {
		t.Error("a session at work was not waited for")
	}
	busy.wantEnd()
	if n := len(w.messages("look@me.com")); n != 0 {
		t.Errorf("%d messages, want none", n)
	}
}

// TRAPS: under BDAT the library runs Data in a goroutine of its own, whose result
// could become another transaction's.
func TestResetDuringChunks(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		c := w.connect()
		c.envelope("look@me.com")
		c.say("BDAT 3\r\nabcRSET\r\n")
		c.want("250")
		c.want("250")
		c.envelope("look@me.com")
		c.say("BDAT 3\r\nabcQUIT\r\n")
		c.want("250")
		c.want("221")
		c.wantEnd()
	}
	w.drained()
	if n := len(w.messages("look@me.com")); n != 0 {
		t.Errorf("%d messages, want none", n)
	}
}

func TestSettingsReload(t *testing.T) {
	w := newWorld(t)
	old := w.connect()
	w.server.SetSettings(smtpd.Settings{MaxRecipients: 1, MaxMessageSize: maxMessage, CommandTimeout: 10 * time.Second, DataIdleTimeout: 10 * time.Second})
	fresh := w.connect()
	old.envelope("look@me.com", "all@me.com")
	fresh.envelope("look@me.com")
	fresh.do("RCPT TO:<all@me.com>", "452 4.5.3")
}
