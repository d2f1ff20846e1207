package main

import (
	"io"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mailsrv/internal/logs"
	"mailsrv/test/asroot"
)

// process runs the program as a process of its own.
func (h *house) process(args ...string) *exec.Cmd {
	c := exec.Command(os.Args[0], args...)
	c.Env = append(os.Environ(), append([]string{"RUN_AS_MAILSRV=1", "MAILSRV_DATA_DIR=" + h.dir}, h.environ...)...)
	return c
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	h := newHouse(t, "MAILSRV_SMTP_LISTEN=127.0.0.1:0", "MAILSRV_POP3_LISTEN=", "MAILSRV_POP3_LISTEN_TLS=", "MAILSRV_SHUTDOWN_TIMEOUT=1h")
	log := &logs.Recorder{}
	c := h.process("serve")
	c.Stderr = log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	r := &running{house: h, log: log}
	await(t, "the server", func() bool { return r.logged("msg=ready") })
	h.do("", "domain", "add", "me.com")
	h.do("", "mailbox", "add", "look@me.com", "--generate")
	client, err := smtp.Dial(r.address("smtp", "starttls"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Mail("a@b.example")
	client.Rcpt("look@me.com")
	content, err := client.Data()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(content, "Subject: half\r\n\r\n")
	h.transferBegins(client) // which holds the drain up
	c.Process.Signal(syscall.SIGTERM)
	await(t, "the drain", func() bool { return !r.open("smtp") })
	c.Process.Signal(syscall.SIGINT)
	if err := c.Wait(); c.ProcessState.ExitCode() != exitFailed || !strings.Contains(log.String(), "mailsrv: stopped at once by a second signal\n") {
		t.Errorf("%v\n%s", err, log)
	}
	h.do("", "check")
}

// Root leaves nothing behind that the owner of the data could not open.
func TestRootTakesTheOwnersIdentity(t *testing.T) {
	if asroot.Rerun(t) {
		return
	}
	const nobody = 65534
	h := newHouse(t)
	for dir := filepath.Dir(h.dir); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { // nobody must get there
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(h.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if out, err := h.process("domain", "add", "me.com").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files, _ := filepath.Glob(h.dir + "/*")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if owner := info.Sys().(*syscall.Stat_t); owner.Uid != nobody || owner.Gid != nobody || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d:%d %v", file, owner.Uid, owner.Gid, info.Mode())
		}
	}
}

func TestStrangersAreTold(t *testing.T) {
	if asroot.Rerun(t) {
		return
	}
	h := newHouse(t)
	for dir := filepath.Dir(h.dir); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.do("", "domain", "add", "me.com")
	program := filepath.Join(filepath.Dir(h.dir), "mailsrv")
	binary, err := os.ReadFile(os.Args[0]) // which stands in a folder of root's
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	c := h.process("domain", "list")
	c.Path = program
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	c.Dir = "/"
	out, err := c.CombinedOutput()
	want := "permission denied: run this as root or as the user who owns the data (data directory " + h.dir
	if err == nil || !strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1 {
		t.Errorf("%v: %s", err, out)
	}
}
