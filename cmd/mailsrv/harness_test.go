package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailsrv/internal/admin"
	"mailsrv/internal/logs"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
	"mailsrv/test/kit"
)

// TestMain lets a test run the program as a process of its own, which may give
// up its identity or be killed. No test meets the configuration of the machine, nor its
// log.
func TestMain(m *testing.M) {
	systemFile, logSocket = "", os.Getenv("RUN_WITH_LOG")
	if os.Getenv("RUN_AS_MAILSRV") == "1" {
		main()
	}
	os.Exit(m.Run())
}

// house is a data directory and the command line that works on it.
type house struct {
	t       *testing.T
	dir     string   // data directory
	environ []string // beside MAILSRV_DATA_DIR
	syslog  *logs.Recorder
	columns uint16 // of a terminal; 0: not told
}

func newHouse(t *testing.T, environ ...string) *house {
	t.Helper()
	return &house{t: t, dir: filepath.Join(t.TempDir(), "data"), environ: environ, syslog: &logs.Recorder{}}
}

// configure writes the configuration file of h, which its commands and servers read from
// then on, and returns its path.
func (h *house) configure(text string) string {
	h.t.Helper()
	file := filepath.Join(filepath.Dir(h.dir), "mailsrv.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.environ = []string{"MAILSRV_CONFIG=" + file}
	return file
}

func (h *house) env() environment {
	return environment{
		variables: append([]string{"MAILSRV_DATA_DIR=" + h.dir}, h.environ...),
		hostname:  "mail.example.org",
		uid:       os.Getuid(),
		syslog:    func() (io.WriteCloser, error) { return nopCloser{h.syslog}, nil },
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// run carries out one command.
func (h *house) run(stdin string, args ...string) (stdout, stderr string, code int) {
	var out, err bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(stdin), &out, &err, h.env())
	return out.String(), err.String(), code
}

// do is run for commands that must succeed.
func (h *house) do(stdin string, args ...string) string {
	h.t.Helper()
	stdout, stderr, code := h.run(stdin, args...)
	if code != exitDone {
		h.t.Fatalf("mailsrv %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout
}

// refused expects a command to fail with one line that has a text in it.
func (h *house) refused(want string, args ...string) {
	h.t.Helper()
	_, stderr, code := h.run("", args...)
	if code != exitFailed || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "mailsrv: ") {
		h.t.Fatalf("mailsrv %s: exit %d, %q; want %q", strings.Join(args, " "), code, stderr, want)
	}
}

// deliver puts n messages with the UIDLs uidl1, uidl2, … into a maildrop.
func (h *house) deliver(address string, n int) {
	h.t.Helper()
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprintf("Subject: message %d\r\n\r\n\x1b[31mred \u0085 gr\xfcn grün\r\n", i+1))
	}
	h.deliverTexts(address, texts...)
}

func (h *house) deliverTexts(address string, texts ...string) {
	h.t.Helper()
	ctx := context.Background()
	store, err := sqlite.Open(ctx, h.dir, sqlite.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	defer store.Close()
	a := admin.Admin{Directory: store, Store: store}
	m, err := a.Mailbox(ctx, address)
	if err != nil {
		h.t.Fatal(err)
	}
	for i, text := range texts {
		body, err := store.NewBody(ctx, 0)
		if err != nil {
			h.t.Fatal(err)
		}
		io.WriteString(body, text)
		_, err = store.Deliver(ctx, &storage.Delivery{
			ID: fmt.Sprintf("uidl%d", i+1), Body: body, To: []storage.Recipient{{Mailbox: m.ID}},
		})
		body.Discard()
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

// await waits until a condition holds.
var await = kit.Await
