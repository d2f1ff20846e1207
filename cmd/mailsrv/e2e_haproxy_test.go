package main_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"mailsrv/test/kit"
)

// haproxy starts HAProxy in front of an address, on a port of its own that is returned.
// It connects from 127.0.0.9 with a header of the PROXY protocol, and looks ten times
// a second whether the server is there.
func (s *site) haproxy(address, send string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		s.t.Fatal(err)
	}
	defer socket.Close()
	name := fmt.Sprintf("haproxy-%s-%s.cfg", send, strings.ReplaceAll(address, ":", "-"))
	file := s.write(name, `
defaults
  mode tcp
  timeout connect 50s
  timeout client 50s
  timeout server 50s
listen mail
  bind fd@3
  server mailsrv `+address+` `+send+` source 127.0.0.9 check inter 100ms
`)
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path = "/usr/sbin/haproxy"
	}
	c := exec.Command(path, "-db", "-f", file)
	c.Dir, c.Env = s.dir, s.environ()
	c.ExtraFiles = []*os.File{socket}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := newLogbook()
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if s.t.Failed() {
			s.t.Logf("%s: %s", path, log)
		}
	})
	return l.Addr().String()
}

// Behind HAProxy, with either version of its protocol, limits, log and Received see
// the client; and a client behind it is not on this machine, whatever its address.
func TestBehindHAProxy(t *testing.T) {
	for _, send := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(send, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, "smtp.proxy_protocol: [127.0.0.9]", "pop3.proxy_protocol: [127.0.0.0/28]",
				"smtp.max_connections_per_client: 1", "log.level: debug")
			s.mailbox("look@me.com")
			s.start()
			smtp := s.haproxy(s.server.smtp, send)
			d, greeting := dial(t, "127.0.0.20", smtp)
			if !strings.HasPrefix(greeting, "220 ") {
				t.Fatal(greeting)
			}
			if _, greeting := dial(t, "127.0.0.20", smtp); !strings.HasPrefix(greeting, "421 ") {
				t.Errorf("a second connection of the client: %s", greeting)
			}
			other, greeting := dial(t, "127.0.0.21", smtp)
			if !strings.HasPrefix(greeting, "220 ") {
				t.Errorf("another client: %s", greeting)
			}
			other.Do("QUIT", "221")
			d.Do("HELO client.example", "250")
			d.Do("MAIL FROM:<you@example.org>", "250")
			d.Do("RCPT TO:<look@me.com>", "250")
			d.Do("DATA", "354")
			d.Do("Subject: through\r\n\r\n.", "250")
			d.Do("QUIT", "221")
			s.server.log.await(t, "msg=accepted", "client=127.0.0.20")
			// A client that comes by itself is as before; its header would be garbage.
			direct, _ := dial(t, "127.0.0.22", s.server.smtp)
			direct.Do("PROXY TCP4 192.0.2.1 127.0.0.1 4000 25", "500")
			direct.Do("QUIT", "221")

			pop3 := s.haproxy(s.server.pop3, send)
			d, greeting = dial(t, "127.0.0.20", pop3)
			if !strings.HasPrefix(greeting, "+OK ") {
				t.Fatal(greeting)
			}
			d.Do("USER look@me.com", "-ERR [SYS/PERM] no password without TLS")
			d.Do("STLS", "+OK")
			d.Secure()
			d.Do("USER look@me.com", "+OK")
			d.Do("PASS secret", "+OK")
			d.Say("RETR 1\r\n")
			if text := d.textOf(); !strings.Contains(text, "Received: from client.example ([127.0.0.20])") {
				t.Errorf("got %s", text)
			}
			d.Do("QUIT", "+OK")
			s.server.log.await(t, "msg=login ", "client=127.0.0.20")
			// Looks of the proxy for itself are no sessions of anybody.
			if send == "send-proxy" {
				return // version 1 has no word for them: they may come as clients
			}
			kit.Await(t, "some looks", func() bool {
				return strings.Count(s.server.log.String(), `level=DEBUG msg="session end"`) >= 4
			})
			if text := s.server.log.String(); strings.Contains(text, `level=INFO msg="session end" proto=smtp client=127.0.0.9`) {
				t.Errorf("each look leaves a line: %s", text)
			}
		})
	}
}

// textOf reads a multi-line reply of POP3 to its final dot.
func (d *dialogue) textOf() string {
	d.T.Helper()
	var text strings.Builder
	for {
		line := d.Line()
		if line == "." {
			return text.String()
		}
		text.WriteString(line + "\n")
	}
}
