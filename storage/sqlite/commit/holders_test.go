package commit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailsrv/storage/sqlite/db"
)

// The test's program is also the other process that has a database open: it runs a
// statement, says so, and waits for the end of its input.
const holdPath, holdBy = "MAILSRV_TEST_HOLD", "MAILSRV_TEST_HOLD_BY"

func TestMain(m *testing.M) {
	path := os.Getenv(holdPath)
	if path == "" {
		os.Exit(m.Run())
	}
	c, err := db.Open(path, 100)
	if err == nil {
		err = c.Script(os.Getenv(holdBy))
	}
	fmt.Println("done", err)
	io.Copy(io.Discard, os.Stdin)
}

// another is another process in the middle of a transaction. end ends it.
func another(t *testing.T, path, statement string) (process *os.Process, end func()) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), holdPath+"="+path, holdBy+"="+statement)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		c.Process.Signal(syscall.SIGCONT)
		in.Close()
		c.Wait()
	})
	t.Cleanup(end)
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "done <nil>\n" {
		t.Fatalf("the other process: %s, %v", said, err)
	}
	return c.Process, end
}

// heard is a log that is read while it is written.
type heard struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.text.Write(p)
}

func (h *heard) count(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Count(h.text.String(), text)
}

func (h *heard) logger() *slog.Logger { return slog.New(slog.NewTextHandler(h, nil)) }

// Who has the write lock for long is named once, and that it is stopped.
func TestWhoHoldsTheLockIsNamed(t *testing.T) {
	var log heard
	path := filepath.Join(t.TempDir(), "notes.db")
	r := newRigAt(t, path, 0, &chores{}, func(e *Engine) { e.logger, e.tellAfter = log.logger(), 20*time.Millisecond })
	other, end := another(t, path, "BEGIN IMMEDIATE")
	other.Signal(syscall.SIGSTOP)
	done := make(chan error)
	go func() { done <- r.note("x") }()
	named := fmt.Sprintf(`process %d `, other.Pid)
	r.wait("it to be named", func() bool { return log.count(named) > 0 })
	if log.count(", which is stopped, has the lock") != 1 {
		t.Errorf("logged: %s", log.text.String())
	}
	end()
	r.must(<-done)
	if log.count("has the lock of the database") != 1 {
		t.Errorf("logged: %s", log.text.String())
	}
	if who := r.holders.Writer(); who != "" {
		t.Errorf("%s has the lock", who)
	}
}

// Who keeps the log from beginning anew is named once, and again the next time.
func TestWhoKeepsTheLogIsNamed(t *testing.T) {
	var log heard
	path := filepath.Join(t.TempDir(), "notes.db")
	r := newRigAt(t, path, 4<<20, &chores{}, func(e *Engine) { e.logger, e.tellReader = log.logger(), 20*time.Millisecond })
	r.must(r.note("x"))
	for round := 1; round <= 2; round++ {
		other, end := another(t, path, "BEGIN; SELECT count(*) FROM note")
		named := fmt.Sprintf(`process %d `, other.Pid)
		r.wait("it to be named", func() bool {
			r.must(r.note(strings.Repeat("x", 8000)))
			return log.count(named) > 0
		})
		end()
		r.wait("the log to begin anew", func() bool {
			r.must(r.note("x"))
			var l db.Log
			r.must(r.readers.Use(background, func(c *db.Conn) (err error) { l, err = c.Checkpoint("NOOP"); return err }))
			return l.Pages < r.space.LogPages()
		})
		if n := log.count("is in a reading transaction"); n != round {
			t.Errorf("logged %d times: %s", n, log.text.String())
		}
	}
}

// A command that commits again and again leaves the server room: SQLite's own wait would
// miss the moments between two transactions.
func TestCommandsLeaveRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.db")
	server := newRigAt(t, path, 0, &chores{}, func(*Engine) {})
	command := newRigAt(t, path, 0, nil, func(*Engine) {})
	stop, stopped, inside := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			command.Do(background, &Change{Effect: Effect{Kind: Edit}, Apply: func(c *db.Conn) error {
				select { // the server begins to wait
				case inside <- struct{}{}:
				case <-stop:
				default:
				}
				time.Sleep(5 * time.Millisecond) // the work of a slice
				return insert("slice")(c)
			}})
		}
	}()
	defer func() { close(stop); <-stopped }()
	const notes = 50
	var slices int64
	for range notes {
		<-inside
		before := command.Stats().Commits
		server.must(server.note("x"))
		slices += command.Stats().Commits - before
	}
	// Counted, not timed: a busy machine slows the command and the server alike.
	if slices > 6*notes {
		t.Errorf("the command committed %d slices while the server waited for %d transactions", slices, notes)
	}
	t.Logf("%d slices during %d transactions", slices, notes)
}

// What stops a process is done between its transactions, also while it waits for the lock.
func TestBetweenTransactions(t *testing.T) {
	r := newRig(t, 0, nil)
	inside, goOn := make(chan struct{}), make(chan struct{})
	done := make(chan error, 2)
	go func() {
		done <- r.Do(background, &Change{Effect: Effect{Kind: Edit}, Apply: func(c *db.Conn) error {
			close(inside)
			<-goOn
			return insert("x")(c)
		}})
	}()
	<-inside
	between, leave := make(chan struct{}), make(chan struct{})
	go r.Between(func() {
		close(between)
		<-leave
	})
	select {
	case <-between:
		t.Error("it was called within a transaction")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	<-between
	r.must(<-done)
	go func() { done <- r.note("y") }()
	select {
	case err := <-done:
		t.Errorf("a transaction was committed meanwhile: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	r.must(<-done)

	release := r.hold()
	go func() { done <- r.note("z") }()
	called := make(chan struct{})
	r.Between(func() { close(called) })
	<-called
	release()
	r.must(<-done)
}
