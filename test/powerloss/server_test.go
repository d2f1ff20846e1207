package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsrv/storage"
	"mailsrv/storage/sqlite"
	"mailsrv/test/built"
	"mailsrv/test/kit"
)

// A server ends with an error when a sync of the database has failed, so that systemd
// restarts it. Then everything that it accepted is there.
func TestFailedSyncEndsTheServer(t *testing.T) {
	w := record(t, sqlite.Options{})
	w.close()
	config := filepath.Join(t.TempDir(), "mailsrv.yaml")
	err := os.WriteFile(config, fmt.Appendf(nil, `hostname: mail.me.com
data_dir: %s
storage: {min_free: 4MiB}
smtp: {listen: ["127.0.0.1:0"]}
pop3: {listen: ["127.0.0.1:0"], listen_tls: []}
`, w.dir), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	server := exec.Command(built.Server(t), "--config", config, "serve")
	server.Stderr = log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	defer server.Process.Kill()

	listening := regexp.MustCompile(`msg=listening proto=smtp address=(\S+)`)
	address := ""
	for late := time.Now().Add(time.Minute); address == ""; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(log.Name())
		if m := listening.FindSubmatch(text); m != nil && bytes.Contains(text, []byte("msg=ready")) {
			address = string(m[1])
		} else if time.Now().After(late) {
			t.Fatalf("the server does not start: %s", text)
		}
	}
	w.failOnce("mailsrv.db", Sync)
	accepted := 0
	content := strings.Repeat("some text\r\n", 2000)
	for late := time.Now().Add(time.Minute); kit.Send(address, "u0@me.com", content) == nil; accepted++ {
		if time.Now().After(late) {
			t.Fatal("mail is taken though the database may not be on the disk")
		}
	}
	select {
	case err = <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the server goes on")
	}
	text, _ := os.ReadFile(log.Name())
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !bytes.Contains(text, []byte("has failed to sync the database")) {
		t.Errorf("the server ended with %v: %s", err, text)
	}

	w.recorder.SetFail(func(Access) syscall.Errno { return 0 })
	w.rest()
	drop, err := w.store.OpenMaildrop(background, w.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if n := drop.Usage().Messages; n < int64(accepted) {
		t.Errorf("%d messages of %d accepted", n, accepted)
	}
	if n, err := w.store.Check(background, false, func(f storage.Finding) { t.Error(f) }); n > 0 || err != nil {
		t.Errorf("%d findings, %v", n, err)
	}
	if accepted == 0 {
		t.Error("no mail was accepted")
	}
}
