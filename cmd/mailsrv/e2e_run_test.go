package main_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// freePort finds a port of loopback that nobody has at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// "make run", and the commands that it prints pasted into a second terminal as
// they stand.
func TestPrintedCommands(t *testing.T) {
	t.Parallel()
	s := newSite(t) // for what is around; deploy/run makes a site of its own
	script, err := filepath.Abs("../../deploy/run")
	if err != nil {
		t.Fatal(err)
	}
	environ := s.environ("RUN_DIR="+s.path("run"), "RUN_PROGRAM="+s.program,
		"RUN_SMTP="+freePort(t), "RUN_POP3="+freePort(t), "RUN_POP3S="+freePort(t))
	for run := 1; run <= 2; run++ {
		c := exec.Command(script)
		c.Env = environ
		k := s.watch(c)
		k.log.await(t, "msg=ready")
		commands := strings.Join(regexp.MustCompile(`(?m)^  .+\n`).FindAllString(k.log.String(), -1), "")
		if strings.Count(commands, "curl ") != 3 {
			t.Fatalf("the commands:\n%s", commands)
		}
		r := s.run(commands, "bash", "-e")
		if r.code != 0 {
			t.Fatalf("exit %d:\n%s", r.code, r.all())
		}
		fetched, list, _ := strings.Cut(r.stdout, "\r\n1 ")
		same(t, "the message", content(t, fetched+"\r\n"), "From: you@example.org\r\nTo: look@me.com\r\nSubject: hello\r\n\r\nIt works.\r\n")
		if got := strings.Count(list, "\r\n"); got != run {
			t.Errorf("run %d lists %d messages", run, got)
		}
		if !strings.Contains(k.log.String(), fmt.Sprintf("data stays in %s/run/data", s.dir)) {
			t.Error("it does not say where the data is")
		}
		s.stop()
	}
}
