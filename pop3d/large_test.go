//go:build cgo

package pop3d_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
)

// multiply makes n messages of the one that a maildrop holds.
func (r *real) multiply(id mail.MailboxID, n int) {
	r.t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(r.dir, "mailsrv.db"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ?2 - 1)
INSERT OR REPLACE INTO entry (id, octets, body, shared, uidl, own, arrived, flags, modseq)
SELECT id + i, octets, body, shared, printf('%026d', i), own, arrived, flags, modseq FROM message, n WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?1)`,
		`DELETE FROM arrival WHERE id >> 32 = (SELECT inbox FROM mailbox WHERE id = ?1)`,
		`UPDATE tally SET octets = octets * ?2, messages = ?2, all_octets = octets * ?2, all_messages = ?2,
    last = (SELECT max(uid) FROM entry WHERE entry.folder = tally.folder) WHERE folder = (SELECT inbox FROM mailbox WHERE id = ?1)`,
	} {
		if _, err := db.Exec(statement, int64(id), n); err != nil {
			r.t.Fatal(err)
		}
	}
}

// heap is what is in use once nothing is left to collect.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// allocated is the least that a function allocates, of some tries: it counts the
// whole process, of which other parts are at work now and then.
func allocated(f func()) (objects, octets int64) {
	objects, octets = math.MaxInt64, math.MaxInt64
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		objects = min(objects, int64(after.Mallocs-before.Mallocs))
		octets = min(octets, int64(after.TotalAlloc-before.TotalAlloc))
	}
	return objects, octets
}

// skipText reads a text of n lines and its final dot.
func (c *client) skipText(n int) {
	c.T.Helper()
	for i := 0; ; i++ {
		line, err := c.In.ReadSlice('\n')
		if err != nil {
			c.T.Fatal(err)
		}
		if string(line) == ".\r\n" {
			if i != n {
				c.T.Fatalf("a text of %d lines, want %d", i, n)
			}
			return
		}
	}
}

func TestLargeMaildrop(t *testing.T) {
	const n = 100_000
	const text = "Subject: x\r\n\r\ntext\r\n"
	s := startReal(t, nil)
	large, small := s.mailbox("large@me.com", directory.Retention{}), s.mailbox("small@me.com", directory.Retention{})
	s.deliver(large, text)
	s.deliver(small, text)
	s.multiply(large, n)

	// A login and STAT cost the same, however much there is.
	visit := func(name string) func() {
		return func() {
			c := s.login(t, name)
			c.send("STAT\r\nQUIT\r\n")
			c.want("+OK")
			c.want("+OK")
			c.Close()
		}
	}
	fewObjects, fewOctets := allocated(visit("small@me.com"))
	manyObjects, manyOctets := allocated(visit("large@me.com"))
	t.Logf("login, STAT and QUIT: %d objects of %d octets; with one message %d of %d",
		manyObjects, manyOctets, fewObjects, fewOctets)
	if manyObjects > fewObjects+100 || manyOctets > fewOctets+32<<10 {
		t.Error("a login reads more than a row")
	}

	c := s.login(t, "large@me.com")
	before := heap()
	begun := time.Now()
	c.send("UIDL\r\n")
	c.want("+OK 100000 messages")
	c.skipText(n)
	t.Logf("the first UIDL: %v", time.Since(begun))
	each := float64(heap()-before) / n
	t.Logf("the snapshot: %.1f octets a message", each)
	if each > 20 {
		t.Error("the snapshot takes more than 20 octets a message")
	}
	// What comes after is answered from memory, through one buffer; but for UIDLs, which
	// so many would take too much of, and which are read again in pieces.
	for command, most := range map[string]int64{"LIST": 256 << 10, "UIDL": 100 * n} {
		objects, octets := allocated(func() {
			c.send(command + "\r\n")
			c.want("+OK 100000 messages")
			c.skipText(n)
		})
		t.Logf("%s: %d objects of %d octets", command, objects, octets)
		if objects > 3000 || octets > most {
			t.Errorf("%s allocates for each message", command)
		}
	}
	before = heap()
	var commands strings.Builder
	for i := 1; i <= n; i++ {
		commands.WriteString("DELE " + strconv.Itoa(i) + "\r\n")
	}
	said := commands.String()
	commands.Reset()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	go io.WriteString(c.Conn, said)
	for range n {
		c.want("+OK")
	}
	said = ""
	each = float64(heap()-before) / n
	t.Logf("all marked: %.2f octets a message more", each)
	if each > 1 {
		t.Error("marks take more than a bit or so")
	}
	begun = time.Now()
	c.send("QUIT\r\n")
	c.want("+OK bye")
	t.Logf("QUIT: %v", time.Since(begun))
	if lines := s.log.lines("expunged"); len(lines) != (n+31)/32 {
		t.Errorf("%d lines name what was deleted", len(lines))
	}
	c = s.login(t, "large@me.com")
	c.send("STAT\r\n")
	c.want("+OK 0 0")
}

// A session in the middle of a long message holds some pieces of it.
func TestMemoryIsNotThatOfTheMessage(t *testing.T) {
	const size = 32 << 20
	s := startReal(t, nil)
	id := s.mailbox("vast@me.com", directory.Retention{})
	s.deliver(id, "\r\n"+strings.Repeat(strings.Repeat("v", 1022)+"\r\n", size>>10))
	c := s.login(t, "vast@me.com")
	c.In = bufio.NewReaderSize(c.Conn, 4<<10)
	before := heap()
	c.send("STAT\r\nLIST\r\nRETR 1\r\n")
	c.want("+OK 1 ")
	c.want("+OK 1 ")
	c.skipText(1)
	c.want(fmt.Sprintf("+OK %d octets", size+2))
	if _, err := io.CopyN(io.Discard, c.In, size/2); err != nil {
		t.Fatal(err)
	}
	// The server goes on until the connection takes no more.
	var more int64
	eventually(t, "little is in memory", func() bool {
		more = heap() - before
		return more < size/8
	})
	t.Logf("in the middle of %d octets: %d more in use", size, more)
	if _, err := io.CopyN(io.Discard, c.In, size/2+2); err != nil {
		t.Fatal(err)
	}
	c.want(".")
}
