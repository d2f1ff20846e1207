package proof

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	diskSize      = 64 << 20
	smallDiskSize = 24 << 20 // octets, in the short form
	// comeback is how soon mail must be accepted again once there is space.
	comeback = 10 * time.Second
)

// diskFull matches the only reply that a sender may get when the disk is full.
var diskFull = regexp.MustCompile(`^452 4\.3\.1 `)

// TestFullDisk fills the disk of a server in several ways. Senders must get 452, readers
// must be able to fetch and delete, nothing acknowledged may be lost, and the server must
// accept mail again by itself once there is space.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !ownMounts(t) {
		return
	}
	rounds := scale(t, "PROOF_DISKS", 1)
	for name, way := range map[string]func(*disk){
		"filled by mail":                  (*disk).filledByMail,
		"filled by mail and emptied":      (*disk).emptied,
		"filled by a foreign file":        (*disk).filledByForeignFile,
		"filled under load":               (*disk).filledUnderLoad,
		"filled while a backup reads":     (*disk).filledWhileRead,
		"filled and many deleted at once": (*disk).manyDeleted,
		"filled by unfinished transfers":  (*disk).filledByTransfers,
		"killed on a full disk":           (*disk).killedWhenFull,
		"emptied by the command line":     (*disk).purged,
		"a file may not grow":             (*disk).limited,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range rounds {
				d := newDisk(t, rounds > 1)
				way(d)
				d.s.check()
				d.l.audit(d.s, true)
				d.s.stop()
				d.s.check()
				n := d.l.total
				t.Logf("%d messages acknowledged, %d refused, %d deletions acknowledged, %d messages compared",
					n.accepted, n.refused, n.deleted, n.fetched)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// disk is a server whose data directory is on a small file system.
type disk struct {
	t     *testing.T
	r     *rand.Rand
	dir   string
	size  int64
	s     *server
	l     *ledger
	boxes []string
	smtp  *smtpClient // connected to the running server; nil: none yet

	cycles int // how often to fill and empty the disk
}

func newDisk(t *testing.T, long bool) *disk {
	d := &disk{t: t, r: dice(t), boxes: []string{"one", "two", "three"}, size: smallDiskSize, cycles: 1}
	if long {
		d.size, d.cycles = diskSize, 3
	}
	d.dir = mountTmpfs(t, d.size)
	d.s = newServer(t, filepath.Join(d.dir, "data"), "storage: {min_free: 8MiB}")
	d.s.tmp = d.dir // as on a machine with one disk for everything
	d.s.populate(noLimit, d.boxes...)
	d.l = newLedger(t, d.boxes...)
	d.s.start()
	return d
}

// client returns a connection to the server.
func (d *disk) client() *smtpClient {
	d.t.Helper()
	if d.smtp == nil {
		c, err := dialSMTP(d.s.smtp, false)
		if err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(c.close)
		d.smtp = c
	}
	return d.smtp
}

// kill kills the server, and with it the connection.
func (d *disk) kill() {
	d.s.kill()
	d.smtp = nil
}

// send sends a message. It reports whether it was accepted; the only other
// answer allowed is that the disk is full.
func (d *disk) send(size int, to ...string) bool {
	d.t.Helper()
	c := d.client()
	m := newMessage(d.r, size, to...)
	taken, no, err := c.envelope(len(m.content), to...)
	load := d.load()
	for local, r := range no {
		load.judge(r, local)
	}
	d.s.must(load.tolerate(err, to...))
	if len(taken) < len(to) {
		if len(taken) > 0 {
			d.s.must(c.expect(250, "RSET"))
		}
		return false
	}
	d.l.begin(m)
	id, err := c.content(m, manner{}, hooks{end: func() { d.l.complete(m) }})
	d.s.must(load.outcome(m, id, err, false))
	return err == nil
}

// load returns traffic whose mail may be refused by a full disk.
func (d *disk) load() *traffic {
	load := newTraffic(d.s, d.l, d.boxes, "")
	load.allowed = diskFull
	return load
}

// fillWithMail sends until there is no more room.
func (d *disk) fillWithMail(size func() int) {
	d.t.Helper()
	for refused := 0; refused < 5; {
		if d.send(size(), d.boxes[d.r.IntN(len(d.boxes))]) {
			refused = 0
		} else {
			refused++
		}
	}
	free := freeOctets(d.t, d.dir)
	// What is in the write-ahead log will need as much space in the database.
	if log, err := os.Stat(filepath.Join(d.s.data, "mailsrv.db-wal")); err == nil {
		free -= log.Size()
	}
	if free > d.size/2 {
		d.t.Errorf("mail was refused with %d of %d octets free", free, d.size)
	}
}

// fillWithFile fills all free space, to the last octet, with another file.
func (d *disk) fillWithFile() (remove func()) {
	d.t.Helper()
	name := filepath.Join(d.dir, "foreign")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for len(block) > 0 {
		if n, err := f.Write(block); err != nil && n < len(block) {
			block = block[:len(block)/2]
		}
	}
	return func() {
		if err := os.Remove(name); err != nil {
			d.t.Fatal(err)
		}
	}
}

// delete removes some messages of a maildrop by POP3, which must succeed.
func (d *disk) delete(local string, most int) {
	d.t.Helper()
	c, err := dialPOP3(d.s.pop3, local)
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.close()
	all, err := c.list()
	if err != nil {
		d.t.Fatal(err)
	}
	mark := d.l.mark(local)
	for _, m := range all[:min(most, len(all))] {
		stored, err := c.retr(m)
		if err == nil {
			err = d.l.saw(local, m.uidl, stored)
		}
		if err == nil {
			err = c.dele(m)
		}
		if err != nil {
			d.t.Fatal(err)
		}
		mark.uidls = append(mark.uidls, m.uidl)
	}
	d.l.quit(mark)
	if err := c.quit(nil); err != nil {
		d.t.Errorf("QUIT with %d marks: %v", len(mark.uidls), err)
		return
	}
	d.l.deleted(mark)
}

// returns waits until mail is accepted again by itself.
func (d *disk) returns() {
	d.t.Helper()
	begun := time.Now()
	for !d.send(2000, d.boxes[0]) {
		if time.Since(begun) > comeback {
			d.t.Fatalf("no mail is accepted %v after there was space again", comeback)
		}
		time.Sleep(20 * time.Millisecond)
	}
	d.t.Logf("mail was accepted again after %v", time.Since(begun).Round(time.Millisecond))
}

func (d *disk) anySize() int { return anySize(d.r) }

// filledByMail: mail fills the disk, some is deleted, and there is room again; several
// times.
func (d *disk) filledByMail() {
	for i := range d.cycles {
		most := []int{600 << 10, 16 << 10, 2 << 20}[i]
		d.fillWithMail(func() int { return d.r.IntN(most) })
		d.l.audit(d.s, true)
		for _, local := range d.boxes {
			d.delete(local, 5)
		}
		for _, local := range d.boxes {
			d.delete(local, 10000)
		}
		d.returns()
	}
}

// emptied: on a full disk all mail is deleted, a few messages at a time.
func (d *disk) emptied() {
	d.fillWithMail(func() int { return 300 << 10 })
	for range 20 * d.cycles {
		for _, local := range d.boxes {
			d.delete(local, 4)
		}
	}
	d.returns()
}

// filledByForeignFile: another file fills the disk, so that SQLite's writes fail.
func (d *disk) filledByForeignFile() {
	for range d.cycles {
		for range 40 {
			d.send(d.anySize(), d.boxes...)
		}
		remove := d.fillWithFile()
		for range 5 {
			d.send(d.anySize(), d.boxes[0]) // it may fit into space that the files have
		}
		d.l.audit(d.s, true)
		for range 5 {
			for _, local := range d.boxes {
				d.delete(local, 3)
				d.fillWithFile()
			}
		}
		d.l.audit(d.s, true)
		remove()
		d.returns()
	}
	await(d.t, comeback, "the reserve to be laid out again", func() bool {
		d.send(100, d.boxes[0])
		return octets(d.s.data, "reserve") == 2<<20 // a quarter of min_free
	})
}

// limited: the system lets no file grow (EFBIG), although the disk has room.
func (d *disk) limited() {
	for range d.cycles {
		for range 10 {
			d.send(d.anySize(), d.boxes...)
		}
		limit := func(octets uint64) {
			d.t.Helper()
			if err := unix.Prlimit(d.s.process.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: octets, Max: unix.RLIM_INFINITY}, nil); err != nil {
				d.t.Fatal(err)
			}
		}
		limit(uint64(octets(d.s.data, "mailsrv.db-wal")))
		refused := 0
		for range 20 {
			if !d.send(300<<10, d.boxes[0]) {
				refused++
			}
		}
		if refused < 3 { // as many failures as make a store read-only
			d.t.Errorf("%d of 20 messages were refused", refused)
		}
		d.l.audit(d.s, true)
		limit(unix.RLIM_INFINITY)
		d.returns()
	}
}

// filledUnderLoad: the disk fills up during transfers and deletions.
func (d *disk) filledUnderLoad() {
	for i := range d.cycles {
		load := d.load()
		load.start(d.r, 4, 2)
		// If min_free is free within the database, mail need not be refused.
		within(between(d.r, 50*time.Millisecond, 500*time.Millisecond), func() bool {
			return octets(d.s.data, "mailsrv.db")+octets(d.s.data, "mailsrv.db-wal") > 4<<20
		})
		remove := d.fillWithFile()
		time.Sleep(between(d.r, 50*time.Millisecond, 500*time.Millisecond))
		d.fillWithFile()
		if i == 0 && !within(startLimit, func() bool { return load.heard.Load() > 0 }) {
			d.t.Error("no sender heard that the disk is full")
		}
		load.end()
		d.l.audit(d.s, true)
		remove()
		d.returns()
	}
}

// manyDeleted: one QUIT deletes thousands of messages on a disk without a free
// octet.
func (d *disk) manyDeleted() {
	load := d.load()
	for range 100 * d.cycles {
		var all []*message
		for range 10 {
			m := newMessage(d.r, d.r.IntN(400), d.boxes[0])
			d.l.begin(m)
			d.l.complete(m)
			all = append(all, m)
		}
		d.client().burst(all, func(m *message, id string, err error) {
			if err := load.outcome(m, id, err, false); err != nil {
				d.t.Fatal(err)
			}
		})
	}
	remove := d.fillWithFile()
	d.delete(d.boxes[0], 10000)
	d.l.audit(d.s, false)
	remove()
	d.returns()
}

// filledWhileRead: a long read transaction, such as a backup's, keeps the write-ahead log
// from being reset, so that the log fills the disk.
func (d *disk) filledWhileRead() {
	for range d.cycles {
		end := d.read()
		d.fillWithMail(func() int { return d.r.IntN(600 << 10) })
		d.l.audit(d.s, true)
		for _, local := range d.boxes {
			d.delete(local, 5)
		}
		end()
		for _, local := range d.boxes {
			d.delete(local, 10000)
		}
		d.returns()
	}
}

// read begins a read transaction of the database. end ends it.
func (d *disk) read() (end func()) {
	d.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(d.s.data, "mailsrv.db")+"?mode=ro")
	if err != nil {
		d.t.Fatal(err)
	}
	tx, err := db.Begin()
	var n int
	if err == nil {
		err = tx.QueryRow("SELECT count(*) FROM message").Scan(&n)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return func() {
		tx.Rollback()
		db.Close()
	}
}

// filledByTransfers: messages that do not fit together are sent concurrently. What was
// staged of them is freed without a restart.
func (d *disk) filledByTransfers() {
	for range d.cycles {
		var group sync.WaitGroup
		for i := range 6 {
			r := fork(d.r)
			group.Go(func() {
				c, err := dialSMTP(d.s.smtp, false)
				if err != nil {
					d.t.Error(err)
					return
				}
				defer c.close()
				m := newMessage(r, 2<<20, d.boxes[i%len(d.boxes)])
				for len(m.content) < 16<<20 {
					m.content = append(m.content, m.content...)
				}
				m.seal()
				if err := d.load().sendOne(c, m, manner{chunks: i%2 == 0, pieces: 3}, false); err != nil {
					d.t.Error(err)
				}
			})
		}
		group.Wait()
		d.returns()
		for _, local := range d.boxes {
			d.delete(local, 10000)
		}
	}
	d.fillWithMail(func() int { return 3 << 20 })
	d.l.audit(d.s, false)
	for _, local := range d.boxes {
		d.delete(local, 10000)
	}
	d.returns()
}

// killedWhenFull: the server is killed, and starts on a disk without a free octet.
func (d *disk) killedWhenFull() {
	for i := range 2 * d.cycles {
		for range 10 {
			d.send(d.anySize(), d.boxes...)
		}
		var transfer *smtpClient
		if i%2 == 0 {
			transfer = d.unfinished(4 << 20)
		}
		remove := d.fillWithFile()
		d.kill()
		if transfer != nil {
			transfer.close()
		}
		d.fillWithFile()
		d.s.start()
		d.l.audit(d.s, true)
		for _, local := range d.boxes {
			d.delete(local, 4)
			d.fillWithFile()
		}
		d.kill()
		d.s.start()
		d.l.audit(d.s, false)
		remove()
		d.returns()
	}
}

// unfinished sends size octets of a message and leaves it unfinished.
func (d *disk) unfinished(size int) *smtpClient {
	d.t.Helper()
	c, err := dialSMTP(d.s.smtp, false)
	if err != nil {
		d.t.Fatal(err)
	}
	m := newMessage(d.r, size-1<<20, d.boxes[0])
	d.l.begin(m)
	if _, _, err := c.envelope(size, m.to...); err != nil {
		d.t.Fatal(err)
	}
	if r, err := c.command(fmt.Sprintf("BDAT %d\r\n%s", len(m.content), m.content)); err != nil || !strings.HasPrefix(r.String(), "250") {
		d.t.Fatal(r, err)
	}
	return c
}

// purged: an administrator makes room by the command line while the server runs.
func (d *disk) purged() {
	d.fillWithMail(func() int { return d.r.IntN(2 << 20) })
	d.s.do("", "quota", "show")
	for _, local := range d.boxes {
		d.l.forget(local)
		d.s.do("", "maildrop", "purge", address(local), "--yes")
	}
	d.boxes = []string{"four"}
	d.l.addBox("four")
	d.s.do(password+"\n", "mailbox", "add", address("four"), "--password-stdin")
	d.returns()
}
