package proof

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// administrator changes mailboxes and quotas by the command line and makes backups. Some
// of its commands are killed. It knows what must be true afterwards.
type administrator struct {
	t *testing.T
	s *server
	l *ledger

	acts  int
	made  int
	limit []int64 // that the mailbox "limited" may have; one when it is certain

	mu      sync.Mutex
	passers map[string]certainty // mailboxes that come and go, by local part
}

// limited is the mailbox whose limit changes. It gets no mail.
const limited = "limited"

type certainty int

const (
	there certainty = iota
	doubtful
	away
)

// newAdministrator begins with the limit that "limited" was made with, in octets;
// -1 where it inherits one.
func newAdministrator(t *testing.T, s *server, l *ledger, limit int64) *administrator {
	return &administrator{t: t, s: s, l: l, limit: []int64{limit}, passers: map[string]certainty{}}
}

// passing returns a mailbox that will be removed soon, or none.
func (a *administrator) passing() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, state := range a.passers {
		if state == there {
			return []string{name}
		}
	}
	return nil
}

func (a *administrator) set(name string, state certainty) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passers[name] = state
}

// backupEvery is how many commands there are between two backups. A backup costs as much
// as hundreds of other commands.
const backupEvery = 300

// act carries out one command.
func (a *administrator) act(r *rand.Rand) {
	a.acts++
	switch name := a.passing(); {
	case slices.Contains([]int{5, 6, 7}, a.acts%backupEvery): // some of which are killed
		a.backup(r)
	case r.IntN(3) == 0:
		a.setLimit(r)
	case name != nil && r.IntN(2) == 0:
		a.remove(r, name[0])
	default:
		a.add(r)
	}
}

// order runs a command and may kill it. It reports whether the command certainly had its
// effect.
func (a *administrator) order(r *rand.Rand, stdin string, args ...string) bool {
	ctx := context.Background()
	if r.IntN(4) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, between(r, time.Millisecond, 150*time.Millisecond))
		defer cancel()
	}
	o := run(a.s.command(ctx, stdin, args...))
	if o.code > 0 {
		a.t.Errorf("mailsrv %q: exit %d: %s", args, o.code, o.stderr)
	}
	return o.code == 0
}

// backup makes a backup of the store in use and restores it, which checks all of it. A
// backup that was killed must not prevent a later one.
func (a *administrator) backup(r *rand.Rand) {
	folder := filepath.Dir(a.s.data)
	file, data := filepath.Join(folder, "backup.db"), filepath.Join(folder, "restored")
	defer func() {
		if err := errors.Join(os.RemoveAll(file), os.RemoveAll(data)); err != nil {
			a.t.Error(err)
		}
	}()
	before := a.l.certain()
	if !a.order(r, "", "backup", file) {
		return
	}
	after := a.l.certain()
	restore := a.s.command(context.Background(), "", "restore", file)
	restore.Env = append(os.Environ(), "MAILSRV_DATA_DIR="+data)
	if o := run(restore); o.code != 0 {
		a.t.Errorf("mailsrv restore: exit %d\n%s%s", o.code, o.stdout, o.stderr)
		return
	}
	held, err := copiesIn(filepath.Join(data, "mailsrv.db"))
	if err != nil {
		a.t.Error(err)
		return
	}
	for c, there := range before {
		if is, known := after[c]; known && is == there && held[c] != there {
			a.t.Errorf("%v was in its maildrop all the time: %v, and is in the backup: %v", c, there, held[c])
		}
	}
	a.t.Logf("a backup with %d messages was restored", len(held))
}

// copiesIn returns the copies of messages in a database.
func copiesIn(file string) (map[messageCopy]bool, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?mode=ro")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.Query("SELECT local, uidl FROM message, mailbox WHERE inbox = folder")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[messageCopy]bool{}
	for rows.Next() {
		var c messageCopy
		if err := rows.Scan(&c.local, &c.uidl); err != nil {
			return nil, err
		}
		all[c] = true
	}
	return all, rows.Err()
}

func (a *administrator) add(r *rand.Rand) {
	a.made++
	name := fmt.Sprintf("passing-%d", a.made)
	a.l.addBox(name)
	a.set(name, doubtful)
	if a.order(r, password+"\n", "mailbox", "add", address(name), "--password-stdin") {
		a.set(name, there)
	}
}

func (a *administrator) remove(r *rand.Rand, name string) {
	a.l.forget(name)
	a.set(name, doubtful)
	if a.order(r, "", "mailbox", "remove", address(name), "--yes") {
		a.set(name, away)
	}
}

func (a *administrator) setLimit(r *rand.Rand) {
	limit := r.Int64N(1 << 40)
	a.limit = append(a.limit, limit)
	if a.order(r, "", "quota", "set", address(limited), strconv.FormatInt(limit, 10)) {
		a.limit = []int64{limit}
	}
}

// audit compares the directory with the commands that had their effect.
func (a *administrator) audit() {
	a.t.Helper()
	var all []struct {
		Address string
		Quota   struct {
			Own *int64 `json:"own_limit_octets"`
		}
	}
	if err := json.Unmarshal([]byte(a.s.do("", "mailbox", "list", "--json")), &all); err != nil {
		a.t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range all {
		found[m.Address] = true
		if m.Address == address(limited) {
			limit := int64(-1)
			if m.Quota.Own != nil {
				limit = *m.Quota.Own
			}
			if !slices.Contains(a.limit, limit) {
				a.t.Errorf("the limit is %d, it was set to %v", limit, a.limit)
			}
			a.limit = []int64{limit}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, state := range a.passers {
		is := found[address(name)]
		if state == there && !is || state == away && is {
			a.t.Errorf("mailbox %s: added or removed with success, but there: %v", name, is)
		}
		switch {
		case !is:
			a.l.forget(name)
			delete(a.passers, name)
		case state == doubtful:
			a.l.forget(name) // its mail depends on how far the removal came
			delete(a.passers, name)
		}
	}
}
