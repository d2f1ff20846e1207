package main_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"
)

// Exit code of swaks when no recipient was taken.
const swaksNoRecipient = 24

// swaks hands in mail from you@example.org.
func (s *site) swaks(args ...string) result {
	s.t.Helper()
	host, port, _ := strings.Cut(s.server.smtp, ":")
	return s.run("", "swaks", append([]string{"--server", host, "--port", port, "--helo", "client.example.org",
		"--from", "you@example.org", "--suppress-data"}, args...)...)
}

// swaksDo is swaks for mail that must be taken.
func (s *site) swaksDo(args ...string) string {
	s.t.Helper()
	r := s.swaks(args...)
	if r.code != 0 {
		s.t.Fatalf("swaks %s: exit %d", strings.Join(args, " "), r.code)
	}
	return r.stdout
}

func TestSwaksPlainAndTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	s.swaksDo("--to", "look@me.com")
	s.swaksDo("--to", "look@me.com", "--tls", "--tls-verify", "--tls-ca-path", s.path("data/selfsigned.crt"))
	s.swaksDo("--to", "look@me.com", "--pipeline")
	s.swaksDo("--to", "look@me.com", "--pipeline", "--tls")
	for i, with := range []string{" with ESMTP id", " with ESMTPS (", " with ESMTP id", " with ESMTPS ("} {
		message := s.pop3("/" + string(rune('1'+i)))
		if !strings.Contains(message, "Received: from client.example.org ([127.0.0.1])\r\n") || !strings.Contains(message, with) {
			t.Errorf("message %d, want%s:\n%s", i+1, with, message)
		}
	}
}

func TestSwaksEightBitData(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	data := "Subject: gr\xfcn, grün, 緑\n\n.a dot first\n..two\n.\nbytes \x80\xff\x01\x7f\nno more\n"
	file := s.write("data.txt", data)
	s.swaksDo("--to", "look@me.com", "--data", "@"+file)
	same(t, "message", strings.TrimRight(content(t, s.pop3("/1")), "\r\n")+"\r\n", strings.ReplaceAll(data, "\n", "\r\n"))
}

func TestSwaksAttachments(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.start()
	random := rand.NewChaCha8([32]byte{1})
	attachment := make([]byte, 3<<20)
	random.Read(attachment)
	file := s.write("attachment.bin", string(attachment))
	s.swaksDo("--to", "look@me.com", "--attach", "@"+file, "--attach", "@"+file)
	message, err := mail.ReadMessage(strings.NewReader(s.pop3("/1")))
	if err != nil {
		t.Fatal(err)
	}
	_, parameters, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for parts := multipart.NewReader(message.Body, parameters["boundary"]); ; {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if part.FileName() == "" {
			continue
		}
		found++
		if got, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, part)); err != nil || !bytes.Equal(got, attachment) {
			t.Errorf("%s: %d octets, error %v", part.FileName(), len(got), err)
		}
	}
	if found != 2 {
		t.Errorf("%d attachments", found)
	}
}

func TestSwaksSeveralRecipients(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com")
	s.mailbox("b@me.com")
	s.mailbox("c@me.com")
	s.do("alias", "add", "all@me.com", "look@me.com", "b@me.com")
	s.start()
	// b has two ways to the same mail, and gets one copy.
	s.swaksDo("--to", "all@me.com,B@me.com,c+tag@ME.com")
	for _, address := range []string{"look@me.com", "b@me.com", "c@me.com"} {
		message := s.curlDo("", "--url", "pop3://"+s.server.pop3+"/1", "--user", address+":secret")
		if strings.Contains(message, "\tfor <") {
			t.Errorf("%s learns of a recipient:\n%s", address, message)
		}
		if list := s.do("maildrop", "list", address, "--json"); strings.Count(list, `"octets"`) != 1 {
			t.Errorf("%s: %s", address, list)
		}
	}
}

func TestSwaksRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mailbox("look@me.com", "--messages", "1")
	s.mailbox("b@me.com")
	s.start()
	s.swaksDo("--to", "look@me.com")
	for to, reply := range map[string]string{
		"look@me.com":         "552 5.2.2 ",
		"nobody@me.com":       "550 5.1.1 ",
		"you@elsewhere.org":   "550 5.7.1 ",
		"look%elsewhere@x.yz": "550 5.7.1 ",
	} {
		if r := s.swaks("--to", to); r.code != swaksNoRecipient || !strings.Contains(r.stdout, "<** "+reply) {
			t.Errorf("%s: exit %d, want %s", to, r.code, reply)
		}
	}
	// Whom a full maildrop is beside gets the mail all the same.
	if out := s.swaksDo("--to", "look@me.com,b@me.com"); !strings.Contains(out, "<** 552 5.2.2 ") {
		t.Error("the full one is not refused")
	}
	s.curlDo("", "--url", "pop3://"+s.server.pop3+"/1", "--user", "b@me.com:secret")
}
