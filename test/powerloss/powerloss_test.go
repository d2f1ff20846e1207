package powerloss

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/mail"
	"mailsrv/quota"
	"mailsrv/storage"
	"mailsrv/storage/sqlite"
	"mailsrv/test/asroot"
)

var background = context.Background()

// mountsVariable is set in a process that has its own mount namespace.
const mountsVariable = "POWERLOSS_MOUNTS"

// TestMain runs the tests in a mount namespace that ends with them.
func TestMain(m *testing.M) {
	if os.Getenv(mountsVariable) != "" {
		os.Exit(m.Run())
	}
	var problems []error
	for _, way := range asroot.Mounting() {
		c := exec.Command(os.Args[0], os.Args[1:]...)
		c.Env = append(os.Environ(), mountsVariable+"=1")
		c.Stdout, c.Stderr, c.SysProcAttr = os.Stdout, os.Stderr, way
		if err := c.Start(); err != nil {
			problems = append(problems, err)
			continue
		}
		if err := c.Wait(); err != nil {
			fmt.Fprintln(os.Stderr, "in a mount namespace of its own:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	fmt.Fprintln(os.Stderr, asroot.NoMounting(problems, "go test mailsrv/test/powerloss"))
	os.Exit(1)
}

// amount returns a number from the environment, so that make powerloss does more than
// make test.
func amount(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// scratch returns a new folder, in memory if possible: only the recording matters, so the
// disk below need not sync.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "powerloss")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// recorded is a store on a recorder.
type recorded struct {
	t        *testing.T
	recorder *Recorder
	below    string // the recorded folder
	dir      string // where the recorder is mounted
	options  sqlite.Options
	store    *sqlite.Store
	ids      []mail.MailboxID

	mu   sync.Mutex
	sent map[string]*sentMessage
}

// sentMessage is what is known of one message. A moment is a number of operations.
type sentMessage struct {
	to       []mail.MailboxID
	sum      uint32
	began    int
	accepted int                    // 0: never acknowledged
	deleting map[mail.MailboxID]int // moment at which its deletion began
	deleted  map[mail.MailboxID]int // moment at which that was acknowledged
}

func record(t *testing.T, o sqlite.Options) *recorded {
	t.Helper()
	o.Server = true
	below, mountpoint := scratch(t), t.TempDir()
	// The shared memory of the log (-shm) is made anew at every start.
	r, err := Mount(below, mountpoint, scratch(t), "mailsrv.db-shm")
	if err != nil {
		t.Fatalf("FUSE cannot be mounted (%v). As root, run:\n\tmodprobe fuse && chmod 666 /dev/fuse", err)
	}
	t.Cleanup(func() {
		if err := r.Unmount(); err != nil {
			t.Error(err)
		}
	})
	w := &recorded{t: t, recorder: r, below: below, dir: mountpoint, options: o, sent: map[string]*sentMessage{}}
	w.open()
	t.Cleanup(w.close)
	limit := quota.Limit{}
	if err := w.store.AddDomain(background, directory.Domain{Name: "me.com", Policy: directory.Policy{Limit: limit}}); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		id, err := w.store.AddMailbox(background, directory.Mailbox{Address: mail.Address{Local: fmt.Sprint("u", i), Domain: "me.com"}, Switches: directory.AllOn, Policy: directory.Policy{Limit: limit}})
		if err != nil {
			t.Fatal(err)
		}
		w.ids = append(w.ids, id)
	}
	return w
}

func (w *recorded) open() {
	w.t.Helper()
	var err error
	if w.store, err = sqlite.Open(background, w.dir, w.options); err != nil {
		w.t.Fatal(err)
	}
}

// rest opens the store again as commands do, so that it writes only what it is asked to.
func (w *recorded) rest() {
	w.t.Helper()
	w.close()
	w.options = sqlite.Options{}
	w.open()
}

func (w *recorded) close() {
	if w.store != nil {
		w.store.Close()
		w.store = nil
	}
}

func (w *recorded) deliver(id string, size int, to []mail.MailboxID) error {
	content := []byte(strings.Repeat(id+"\r\n", size/(len(id)+2)+1))
	m := &sentMessage{to: to, sum: crc32.ChecksumIEEE(content), deleting: map[mail.MailboxID]int{}, deleted: map[mail.MailboxID]int{}}
	w.mu.Lock()
	w.sent[id] = m
	m.began = w.recorder.Now()
	w.mu.Unlock()
	body, err := w.store.NewBody(background, int64(len(content)))
	if err != nil {
		return err
	}
	defer body.Discard()
	if _, err := body.Write(content); err != nil {
		return err
	}
	d := &storage.Delivery{ID: id, Body: body}
	for _, id := range to {
		d.To = append(d.To, storage.Recipient{Mailbox: id})
	}
	if _, err := w.store.Deliver(background, d); err != nil {
		return err
	}
	w.mu.Lock()
	m.accepted = w.recorder.Now()
	w.mu.Unlock()
	return nil
}

// expunge deletes a random part of a maildrop.
func (w *recorded) expunge(id mail.MailboxID, r *rand.Rand) error {
	drop, err := w.store.OpenMaildrop(background, id)
	if err != nil {
		return err
	}
	entries, err := storage.AllEntries(background, drop)
	if err != nil {
		return err
	}
	var marked []storage.Entry
	for _, e := range entries {
		if r.IntN(2) == 0 {
			marked = append(marked, e)
		}
	}
	note := func(when func(*sentMessage) map[mail.MailboxID]int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, e := range marked {
			when(w.sent[e.UIDL])[id] = w.recorder.Now()
		}
	}
	note(func(m *sentMessage) map[mail.MailboxID]int { return m.deleting })
	if _, err := drop.Update(background, nil, storage.Change{Expunge: storage.UIDs(marked)}); err != nil {
		return err
	}
	note(func(m *sentMessage) map[mail.MailboxID]int { return m.deleted })
	return nil
}

// work delivers and deletes from several goroutines.
func (w *recorded) work(rounds int, seed uint64) {
	var group sync.WaitGroup
	for side := range 4 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(side)))
			for n := range rounds {
				var to []mail.MailboxID
				for _, i := range r.Perm(len(w.ids))[:1+r.IntN(3)] {
					to = append(to, w.ids[i])
				}
				size := r.IntN(6000)
				if r.IntN(10) == 0 {
					size = 200<<10 + r.IntN(400<<10)
				}
				if err := w.deliver(fmt.Sprintf("m%d-%d", side, n), size, to); err != nil {
					w.t.Error(err)
				}
				if r.IntN(4) == 0 {
					if err := w.expunge(w.ids[side], r); err != nil {
						w.t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
}

// verify opens what a cut has left, and compares it with what had been acknowledged
// before the cut.
func (w *recorded) verify(dir string, cut int) error {
	store, err := sqlite.Open(background, dir, sqlite.Options{Server: true})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer store.Close()
	var findings []string
	if _, err := store.Check(background, false, func(f storage.Finding) { findings = append(findings, f.String()) }); err != nil || len(findings) > 0 {
		return fmt.Errorf("check: %v %q", err, findings)
	}
	present := map[string]map[mail.MailboxID]bool{}
	for _, id := range w.ids {
		if err := w.read(store, id, present); err != nil {
			return err
		}
	}
	for uidl, m := range w.sent {
		there := 0
		for _, id := range m.to {
			has := present[uidl][id]
			deleting, toGo := m.deleting[id]
			deleted, gone := m.deleted[id]
			switch mayBeGone, mustBeGone := toGo && deleting <= cut, gone && deleted <= cut; {
			case has && mustBeGone:
				return fmt.Errorf("%s is in maildrop %d again, deleted at %d", uidl, id, deleted)
			case !has && !mayBeGone && m.accepted > 0 && m.accepted <= cut:
				return fmt.Errorf("%s is not in maildrop %d, accepted at %d", uidl, id, m.accepted)
			case has || mayBeGone:
				there++
			}
		}
		if there != 0 && there != len(m.to) {
			return fmt.Errorf("%s reached %d of %d recipients", uidl, there, len(m.to))
		}
	}
	return nil
}

// read notes and verifies all messages of a maildrop.
func (w *recorded) read(store *sqlite.Store, id mail.MailboxID, present map[string]map[mail.MailboxID]bool) error {
	drop, err := store.OpenMaildrop(background, id)
	if errors.Is(err, storage.ErrNoMaildrop) {
		return nil // the cut was before the mailbox was added
	}
	if err != nil {
		return err
	}
	entries, err := storage.AllEntries(background, drop)
	if err != nil {
		return err
	}
	for _, e := range entries {
		m, err := drop.Message(background, e, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", e.UIDL, err)
		}
		sum := crc32.NewIEEE()
		for {
			piece, err := m.Next(background)
			if err == io.EOF {
				break
			}
			if err != nil {
				return fmt.Errorf("%s: %w", e.UIDL, err)
			}
			sum.Write(piece)
		}
		m.Close()
		sent := w.sent[e.UIDL]
		if sent == nil || sum.Sum32() != sent.sum {
			return fmt.Errorf("%s has other content than was sent", e.UIDL)
		}
		if present[e.UIDL] == nil {
			present[e.UIDL] = map[mail.MailboxID]bool{}
		}
		present[e.UIDL][id] = true
	}
	return nil
}

// TestPowerCut cuts the power at each sync, or at as many of them as CUTS allows.
func TestPowerCut(t *testing.T) {
	seed := uint64(amount("SEED", int(time.Now().UnixNano()&0xFFFFFF)))
	t.Logf("SEED=%d", seed)
	w := record(t, sqlite.Options{})
	w.work(amount("ROUNDS", 20), seed)
	disk := w.recorder.Disk()
	r := rand.New(rand.NewPCG(seed, 99))
	cuts := disk.Cuts(amount("CUTS", 25), r)
	t.Logf("%d messages, %d operations, %d moments at syncs of which %d are cut, %d cuts",
		len(w.sent), disk.Len(), len(disk.Syncs()), cutSyncs(disk, cuts), len(cuts))
	dir := scratch(t)
	for n, cut := range cuts {
		state := fmt.Sprintf("%s/%d", dir, n)
		if err := os.Mkdir(state, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := disk.LayOut(state, cut, r); err != nil {
			t.Fatal(err)
		}
		if err := w.verify(state, cut); err != nil {
			t.Fatalf("cut %d after operation %d of %d: %v", n, cut, disk.Len(), err)
		}
		os.RemoveAll(state)
	}
}

// A restore that has ended survives a power cut, wherever the database is.
func TestRestoredElsewhere(t *testing.T) {
	first := record(t, sqlite.Options{})
	if err := first.deliver("m", 3000, first.ids[:1]); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "b")
	if err := first.store.Backup(background, backup, func(int64, int64) {}); err != nil {
		t.Fatal(err)
	}
	for _, m := range first.sent {
		m.began, m.accepted = 0, 1
	}
	from, err := os.Open(backup)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	below, mountpoint, aside := scratch(t), t.TempDir(), scratch(t)
	r, err := Mount(below, mountpoint, aside)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Unmount(); err != nil {
			t.Error(err)
		}
	})
	// Not before the restore has removed what an earlier one may have left.
	share := sync.OnceValue(func() error { return r.shareFrom(aside, below, mountpoint, "mailsrv.db.restore-shm") })
	err = sqlite.Restore(background, t.TempDir(), sqlite.Options{Path: filepath.Join(mountpoint, "mailsrv.db")}, from,
		func(int64, int64) {
			if err := share(); err != nil {
				t.Fatal(err)
			}
		}, func(finding storage.Finding) { t.Error(finding) })
	if err != nil {
		t.Fatal(err)
	}
	disk := r.Disk()
	for seed := range uint64(10) {
		dir := scratch(t)
		if err := disk.LayOut(dir, disk.Len(), rand.New(rand.NewPCG(seed, 0))); err != nil {
			t.Fatal(err)
		}
		if err := first.verify(dir, disk.Len()); err != nil {
			t.Errorf("cut after the restore, seed %d: %v", seed, err)
		}
	}
}

// cutSyncs returns how many of the moments at syncs are among the cuts.
func cutSyncs(d *Disk, cuts []int) (n int) {
	for _, at := range d.Syncs() {
		if slices.Contains(cuts, at) {
			n++
		}
	}
	return n
}

// With enough cuts no sync is left out. With fewer they are spread over all syncs.
func TestCutsAtEachSync(t *testing.T) {
	d := &Disk{}
	for range 50 {
		d.ops = append(d.ops, op{kind: opWrite}, op{kind: opWrite}, op{kind: opSync})
	}
	moments := d.Syncs() // 100
	for n, want := range map[int]int{500: 5, 250: 2, 100: 1} {
		times := map[int]int{}
		for _, cut := range d.Cuts(n, rand.New(rand.NewPCG(1, 1))) {
			times[cut]++
		}
		for _, at := range moments {
			if times[at] < want {
				t.Errorf("%d cuts: %d at operation %d, want %d", n, times[at], at, want)
			}
		}
	}
	cuts := d.Cuts(20, rand.New(rand.NewPCG(1, 1)))
	for i, cut := range cuts[:15] {
		if at := slices.Index(moments, cut); at != i*100/15 {
			t.Errorf("cut %d of few is at moment %d", i, at)
		}
	}
}

// TestTheProofCanFail leaves the syncs out of the record. Then mail is lost, and verify
// must find that.
func TestTheProofCanFail(t *testing.T) {
	w := record(t, sqlite.Options{})
	w.work(5, 1)
	disk := w.recorder.Disk()
	var unsynced Disk
	for _, o := range disk.ops {
		if o.kind != opSync || o.name == "mailsrv.db" {
			unsynced.ops = append(unsynced.ops, o)
		}
	}
	for _, m := range w.sent {
		m.accepted, m.began = 1, 1
	}
	for seed := range uint64(30) {
		dir := scratch(t)
		if err := unsynced.LayOut(dir, len(unsynced.ops), rand.New(rand.NewPCG(seed, 0))); err != nil {
			t.Fatal(err)
		}
		if w.verify(dir, len(unsynced.ops)) != nil {
			return
		}
	}
	t.Error("a disk that never syncs the log seems to lose nothing")
}
