package main

import (
	"bufio"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsrv/test/asroot"
)

func socketOf(t *testing.T, h *house) fs.FileInfo {
	t.Helper()
	info, err := os.Lstat(filepath.Join(h.dir, "control"))
	if err != nil {
		return nil
	}
	return info
}

// ask sends text to the control socket and returns the answer.
func (h *house) ask(text string) string {
	h.t.Helper()
	c, err := net.Dial("unix", filepath.Join(h.dir, "control"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	c.Write([]byte(text)) // refused ones need not be read to their end
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		h.t.Fatalf("%.20q: %v", text, err)
	}
	return line
}

func TestReloadWithoutAServer(t *testing.T) {
	h := newHouse(t)
	h.refused("no server runs here: start it with: mailsrv serve, or systemctl start mailsrv (data directory "+h.dir, "reload")
	r := h.serve()
	if info := socketOf(t, h); info == nil || info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v", info)
	}
	r.stop()
	if socketOf(t, h) != nil {
		t.Error("the socket is left behind")
	}
	h.refused("no server runs here", "reload")
}

// A killed server leaves its socket, which the next one replaces, and nobody else.
func TestSocketOfAKilledServer(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(h.dir, "control"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	h.refused("no server runs here", "reload")
	r := h.serve()
	h.do("", "reload")
	if _, _, code := h.run("", "serve"); code != exitFailed {
		t.Errorf("a second server: exit %d", code)
	}
	h.do("", "reload")
	r.stop()
}

// The kernel takes 107 octets for the path of a socket, a folder may be deeper.
func TestSocketInADeepFolder(t *testing.T) {
	h := newHouse(t)
	h.dir = filepath.Join(t.TempDir(), strings.Repeat("d", 200))
	r := h.serve()
	h.do("", "reload")
	r.stop()
	if socketOf(t, h) != nil {
		t.Error("the socket is left behind")
	}
}

// What stands in the way of the socket does not stop the server, nor is it removed.
func TestSocketCannotBeMade(t *testing.T) {
	h := newHouse(t)
	h.do("", "domain", "add", "me.com")
	if err := os.WriteFile(filepath.Join(h.dir, "control"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := h.serve()
	if !r.logged("level=WARN", "the control socket cannot be made") {
		t.Error("nothing is said")
	}
	h.refused("no server runs here", "reload")
	if text, err := os.ReadFile(filepath.Join(h.dir, "control")); string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if code := r.stop(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

func TestBadRequests(t *testing.T) {
	h := newHouse(t)
	r := h.serve()
	for text, want := range map[string]string{
		"reload\n":                          `{"error":"this server does not know the request`,
		`{"do":"shutdown"}` + "\n":          `{"error":"this server does not know the request`,
		`{"do":"end","id":"smtp-x"}` + "\n": `{}`,
		strings.Repeat("r", 100_000) + "\n": `{"error":"the request is no line of at most 1024 octets`,
		`{"do":"reload"}` + "\n":            `{"reloaded":{"changed":null,"restart":null,"expires":"20`,
	} {
		if got := h.ask(text); !strings.HasPrefix(got, want) {
			t.Errorf("%.20q: %s", text, got)
		}
	}
	// One that says nothing does not hold up the end.
	silent, err := net.Dial("unix", filepath.Join(h.dir, "control"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	begun := time.Now()
	if code := r.stop(); code != exitDone || time.Since(begun) > 9*time.Second {
		t.Errorf("exit %d after %v", code, time.Since(begun))
	}
}

// Another user is refused also where the mode of the socket lets him in.
func TestOnlyTheOwnerControls(t *testing.T) {
	if asroot.Rerun(t) {
		return
	}
	h := newHouse(t)
	h.serve()
	for dir := h.dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	socket := filepath.Join(h.dir, "control")
	program := filepath.Join(filepath.Dir(h.dir), "mailsrv")
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, binary, 0o700); err != nil {
		t.Fatal(err)
	}
	chmod(t, program, 0o755) // whatever the server's umask
	for mode, want := range map[fs.FileMode]string{
		0o600: "permission denied: run this as root or as the user who owns the data (data directory " + h.dir,
		0o666: "mailsrv: only root and the user who runs the server may ask for this\n",
	} {
		chmod(t, socket, mode)
		c := h.process("reload")
		c.Path = program
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		c.Dir = "/"
		out, err := c.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v: %v: %s", mode, err, out)
		}
	}
	h.do("", "reload")
}
