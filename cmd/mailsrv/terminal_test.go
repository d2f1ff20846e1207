package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"mailsrv/internal/logs"
)

// terminal opens a pseudo-terminal: what a person sees and types at one end,
// what the program holds at the other.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("no pseudo-terminals, which need devpts mounted at /dev/pts: %v", err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// conversation runs a command on a terminal, answers each question when it has
// been asked, and returns everything that was seen there.
func (h *house) conversation(answers [][2]string, args ...string) (seen string, code int) {
	h.t.Helper()
	person, program := terminal(h.t)
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: h.columns}); err != nil {
		h.t.Fatal(err)
	}
	var screen logs.Recorder
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := person.Read(buffer)
			screen.Write(buffer[:n])
			if err != nil {
				return
			}
		}
	}()
	done := make(chan int)
	go func() { done <- run(context.Background(), args, program, program, program, h.env()) }()
	for _, pair := range answers {
		await(h.t, pair[0], func() bool { return strings.Contains(screen.String(), pair[0]) })
		if strings.HasPrefix(pair[0], "Password") || strings.HasPrefix(pair[0], "The same") {
			await(h.t, "the echo to be off", func() bool {
				state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
				return err == nil && state.Lflag&unix.ECHO == 0
			})
		}
		if pair[1] == "^C" {
			unix.Kill(os.Getpid(), unix.SIGINT)
			continue
		}
		if _, err := person.WriteString(pair[1] + "\n"); err != nil {
			h.t.Fatal(err)
		}
	}
	select {
	case code = <-done:
	case <-time.After(20 * time.Second):
		h.t.Fatalf("the command waits:\n%s", screen.String())
	}
	// A mark behind the output shows when all of it has come through.
	fmt.Fprint(program, "\x04end")
	await(h.t, "the output", func() bool { return strings.HasSuffix(screen.String(), "\x04end") })
	state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil || state.Lflag&unix.ECHO == 0 {
		h.t.Error("the terminal was left without echo")
	}
	seen = strings.TrimSuffix(screen.String(), "\x04end")
	return strings.ReplaceAll(seen, "\r\n", "\n"), code
}

func TestPasswordByPrompt(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	seen, code := h.conversation([][2]string{{"Password for look@me.com: ", "one"}, {"The same again: ", "other"}},
		"mailbox", "add", "look@me.com")
	if code != exitFailed || !strings.Contains(seen, "mailsrv: the two passwords differ, and nothing was changed: try again\n") {
		t.Errorf("exit %d:\n%s", code, seen)
	}
	seen, code = h.conversation([][2]string{{"Password for look@me.com: ", "geheim"}, {"The same again: ", "geheim"}},
		"mailbox", "add", "look@me.com")
	if code != exitDone || strings.Contains(seen, "geheim") {
		t.Errorf("exit %d:\n%s", code, seen)
	}
}

func TestPromptInterrupted(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	seen, code := h.conversation([][2]string{{"Password for look@me.com: ", "^C"}}, "mailbox", "add", "look@me.com")
	if code != exitFailed || !strings.Contains(seen, "mailsrv: interrupted, and nothing was changed\n") {
		t.Errorf("exit %d:\n%s", code, seen)
	}
}

func TestConfirmation(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.deliver("look@me.com", 2)
	*h.syslog = logs.Recorder{}
	question := "This deletes all mail of look@me.com for good (2 messages, 92B). Type yes to go on: "
	seen, code := h.conversation([][2]string{{question, "no"}}, "maildrop", "purge", "look@me.com")
	if code != exitFailed || !strings.Contains(seen, "mailsrv: not confirmed, and nothing was changed\n") {
		t.Errorf("exit %d:\n%s", code, seen)
	}
	seen, code = h.conversation([][2]string{{question, "yes"}}, "maildrop", "purge", "look@me.com")
	if code != exitDone || !strings.HasSuffix(seen, "Deleted: 2 messages, 92B.\n") {
		t.Errorf("exit %d:\n%s", code, seen)
	}
	if line := h.syslog.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, ` mailbox=look@me.com messages=2 octets=92 id="uidl1 uidl2" reason=`) ||
		!strings.Contains(line, "msg=expunged by=") {
		t.Errorf("system log: %q", line)
	}
}

// Where deleting can be undone, the question says so.
func TestConfirmationOfWhatCanBeUndone(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com", "--undelete-for", "7d")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.deliver("look@me.com", 2)
	seen, code := h.conversation([][2]string{{"This deletes all mail of look@me.com (2 messages, 92B), to be undone within 7d. Type yes to go on: ", "yes"}},
		"maildrop", "purge", "look@me.com")
	if code != exitDone || !strings.HasSuffix(seen, "Deleted: 2 messages, 92B.\nFor 7d this brings it back: mailsrv maildrop undelete look@me.com\n") {
		t.Errorf("exit %d:\n%s", code, seen)
	}
}

func TestBarOnATerminal(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate", "--messages", "10")
	h.deliver("look@me.com", 7)
	seen, _ := h.conversation(nil, "quota", "show")
	want := "ADDRESS      USED  LIMIT  MESSAGES  LIMIT  ASIDE  FULL\n" +
		"look@me.com  322B   1GiB         7     10     0B  70% [#######...]\n"
	if seen != want {
		t.Errorf("got\n%s", seen)
	}
}

// A bar shows how far a backup and a restore are, on a terminal alone.
func TestProgressOnATerminal(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.deliverTexts("look@me.com", strings.Repeat("text\r\n", 1_000_000))
	file := filepath.Join(t.TempDir(), "b")
	bar := regexp.MustCompile(`^Copied \[(#*)(-*)\] +(\d+)% of 6MiB $`)
	expect := func(seen, last string) {
		t.Helper()
		shown, rest, _ := strings.Cut(strings.TrimPrefix(seen, "\r"), " \n")
		before := -1
		steps := strings.Split(shown+" ", "\r")
		for _, step := range steps {
			m := bar.FindStringSubmatch(step)
			if m == nil {
				t.Fatalf("%q in\n%q", step, seen)
			}
			percent, _ := strconv.Atoi(m[3])
			if len(m[1]) != percent*30/100 || len(m[1]+m[2]) != 30 || percent <= before {
				t.Errorf("%q after %d%%", step, before)
			}
			before = percent
		}
		if len(steps) < 3 || before != 100 || !strings.HasPrefix(rest, last) {
			t.Errorf("got\n%q", seen)
		}
	}
	seen, code := h.conversation(nil, "backup", file)
	if expect(seen, file+" holds the store"); code != exitDone {
		t.Errorf("exit %d", code)
	}
	h.dir = t.TempDir()
	seen, code = h.conversation(nil, "restore", file)
	if expect(seen, file+" is restored"); code != exitDone {
		t.Errorf("exit %d", code)
	}
	h.dir = t.TempDir()
	if _, stderr, code := h.run("", "restore", file); stderr != "" || code != exitDone {
		t.Errorf("without a terminal: exit %d, %q", code, stderr)
	}
}

func TestMessageOnATerminal(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	h.deliver("look@me.com", 1)
	seen, _ := h.conversation(nil, "maildrop", "read", "look@me.com", "1")
	want := "Subject: message 1\n\n" + `\x1b[31mred \u0085 gr\xfcn grün` + "\n"
	if seen != want {
		t.Errorf("got\n%q", seen)
	}
	raw := h.do("", "maildrop", "read", "look@me.com", "uidl1")
	if raw != "Subject: message 1\r\n\r\n\x1b[31mred \u0085 gr\xfcn grün\r\n" {
		t.Errorf("got %q", raw)
	}
}

// Whatever a command prints of an address, a terminal is given no orders by it: the
// characters that turn the direction of writing are allowed in one.
func TestAddressesAreShownInWriting(t *testing.T) {
	const evil = "l\u202eook@me.com"
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	for _, row := range []struct {
		code int
		args []string
	}{
		{exitDone, []string{"mailbox", "add", evil, "--generate"}},
		{exitDone, []string{"mailbox", "show", evil}},
		{exitDone, []string{"mailbox", "list"}},
		{exitDone, []string{"mailbox", "list", "--json"}},
		{exitDone, []string{"alias", "add", "a" + evil, evil}},
		{exitDone, []string{"alias", "list"}},
		{exitDone, []string{"domain", "show", "me.com"}},
		{exitDone, []string{"quota", "show"}},
		{exitDone, []string{"maildrop", "list", evil}},
		{exitFailed, []string{"mailbox", "show", "no" + evil}},
		{exitFailed, []string{"restore", "\x1b[31m" + evil}},
	} {
		stdout, stderr, code := h.run("", row.args...)
		seen := strings.ReplaceAll(stdout+stderr, "\n", "")
		if code != row.code || !strings.Contains(strings.ToLower(seen), `l\u202eook@me.com`) {
			t.Errorf("%q: exit %d: %q", row.args, code, seen)
		}
		if i := strings.IndexFunc(seen, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
			t.Errorf("%q prints a control character: %q", row.args, seen[i:])
		}
	}
	h.deliver(evil, 1)
	h.conversation([][2]string{{`This deletes all mail of l\u202eook@me.com`, "no"}}, "maildrop", "purge", evil)
	h.conversation([][2]string{{`Password for l\u202eook@me.com: `, "^C"}}, "mailbox", "passwd", evil)
}

// A character may be cut anywhere by the pieces in which a message is read.
func TestTerminalWriterInPieces(t *testing.T) {
	text := "a\tb\r\nü € 𝄞 \x1b[0m \xe2\x82 \u202e\x7f\xf0"
	want := "a\tb\nü € 𝄞 " + `\x1b[0m \xe2\x82 \u202e\x7f\xf0`
	for size := 1; size <= len(text); size++ {
		var shown bytes.Buffer
		w := &terminalWriter{to: &shown}
		for rest := []byte(text); len(rest) > 0; {
			n := min(size, len(rest))
			w.Write(rest[:n])
			rest = rest[n:]
		}
		w.flush()
		if shown.String() != want {
			t.Errorf("in pieces of %d: got  %q\nwant %q", size, shown.String(), want)
		}
	}
}
