package admin_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/admin"
	"mailsrv/internal/directory"
	"mailsrv/quota"
	"mailsrv/storage"
)

const day = 24 * time.Hour

func keep(retrieved, deleted time.Duration) admin.RetentionChange {
	return admin.RetentionChange{Retrieved: &retrieved, Deleted: &deleted}
}

func TestRetentionOfDomainAndMailbox(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com")
	d, err := f.SetDomain(f.ctx, "me.com", admin.DomainChange{Retention: keep(14*day, 7*day)})
	f.must(err)
	if d.Effective.Retention != (directory.Retention{Retrieved: 14 * day, Deleted: 7 * day}) {
		t.Errorf("the domain: %+v", d.Effective.Retention)
	}
	m, err := f.AddMailbox(f.ctx, "b@me.com", admin.Secret{Hash: foreignHash}, admin.MailboxChange{Retention: keep(directory.RetentionOff, 0)})
	f.must(err)
	if m.Effective.Retention != (directory.Retention{Retrieved: directory.RetentionOff, Deleted: 7 * day}) {
		t.Errorf("off beside inherited: %+v", m.Effective.Retention)
	}
	two := 2 * day
	m, err = f.SetMailbox(f.ctx, "b@me.com", admin.MailboxChange{Retention: admin.RetentionChange{Retrieved: &two}})
	f.must(err)
	if m.Effective.Retention != (directory.Retention{Retrieved: two, Deleted: 7 * day}) {
		t.Errorf("a change of one part: %+v", m.Effective.Retention)
	}
	m, err = f.SetMailbox(f.ctx, "b@me.com", admin.MailboxChange{Retention: keep(0, 0)})
	f.must(err)
	if m.Effective.Retention != d.Effective.Retention {
		t.Errorf("inherited again: %+v", m.Effective.Retention)
	}
	d, err = f.SetDomain(f.ctx, "me.com", admin.DomainChange{Retention: keep(directory.RetentionOff, 0)})
	f.must(err)
	if d.Effective.Retention != (directory.Retention{Retrieved: directory.RetentionOff}) {
		t.Errorf("off again: %+v", d.Effective.Retention)
	}
}

func TestUndelete(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com", "b@me.com")
	week, none := 7*day, quota.Unlimited
	_, err := f.SetMailbox(f.ctx, "look@me.com", admin.MailboxChange{Retention: admin.RetentionChange{Deleted: &week}})
	f.must(err)
	uidls := f.deliver("look@me.com", 3)
	removed, err := f.Purge(f.ctx, "look@me.com", nil)
	f.must(err)

	restored, left, err := f.Undelete(f.ctx, "look@me.com", time.Now().Add(time.Hour))
	f.must(err)
	if restored != (quota.Usage{}) || left != (quota.Usage{}) {
		t.Errorf("what was deleted an hour from now: %+v, left %+v", restored, left)
	}
	three := int64(3) // more would not stay aside
	m, err := f.SetMailbox(f.ctx, "look@me.com", admin.MailboxChange{Limit: admin.LimitChange{Messages: &three}})
	f.must(err)
	f.deliver("look@me.com", 1)
	if aside, err := f.Aside(f.ctx, m); err != nil || aside != removed {
		t.Errorf("%+v are aside, %v", aside, err)
	}
	if all, err := f.Asides(f.ctx); err != nil || all[m.ID] != removed || len(all) != 1 {
		t.Errorf("%+v are aside, %v", all, err)
	}
	f.log.Reset()
	restored, left, err = f.Undelete(f.ctx, "look@me.com", time.Now().Add(-time.Hour))
	f.must(err)
	if restored.Messages != 2 || left.Messages != 1 || restored.Add(left) != removed {
		t.Errorf("restored %+v, left %+v of %+v", restored, left, removed)
	}
	if want := fmt.Sprintf("mailbox=look@me.com messages=2 octets=%d reason=\"undeleted by the administrator\"", restored.Octets); !strings.Contains(f.log.String(), want) {
		t.Errorf("logged %s", f.log)
	}
	_, err = f.SetMailbox(f.ctx, "look@me.com", admin.MailboxChange{Limit: admin.LimitChange{Messages: &none}})
	f.must(err)
	restored, left, err = f.Undelete(f.ctx, "look@me.com", time.Time{})
	f.must(err)
	if restored.Messages != 1 || left.Messages != 0 {
		t.Errorf("restored %+v, left %+v", restored, left)
	}
	again, err := f.Maildrop(f.ctx, "look@me.com")
	f.must(err)
	for _, e := range again.Entries[1:] { // behind the one that was delivered anew
		for _, old := range uidls {
			if e.UIDL == old {
				t.Errorf("%s came back under its old UIDL: clients would not fetch it", old)
			}
		}
	}
	other := "b@me.com"
	_, err = f.SetDomain(f.ctx, "me.com", admin.DomainChange{Postmaster: &other})
	f.must(err)
	_, err = f.Disable(f.ctx, "look@me.com")
	f.must(err)
	_, _, err = f.Undelete(f.ctx, "look@me.com", time.Time{})
	f.refused(err, directory.ErrDisabled, "look@me.com is disabled, so nothing comes into it: enable it first with: mailsrv mailbox enable look@me.com")
	_, _, err = f.Undelete(f.ctx, "none@me.com", time.Time{})
	f.refused(err, directory.ErrNotFound, "there is no mailbox none@me.com: see: mailsrv mailbox list me.com")
}

func TestExpireLogsWhatGoes(t *testing.T) {
	f := setUp(t)
	f.hosts("me.com", "look@me.com", "b@me.com")
	_, err := f.SetDomain(f.ctx, "me.com", admin.DomainChange{Retention: keep(14*day, 0)})
	f.must(err)
	f.deliver("look@me.com", 3)
	f.deliver("b@me.com", 1) // never retrieved
	m, err := f.Mailbox(f.ctx, "look@me.com")
	f.must(err)
	drop, err := f.store.OpenMaildrop(f.ctx, m.ID)
	f.must(err)
	entries, err := storage.AllEntries(f.ctx, drop)
	f.must(err)
	_, err = drop.Update(f.ctx, nil, storage.Change{Retrieved: storage.UIDs([]storage.Entry{entries[0], entries[2]})})
	f.must(err)
	f.log.Reset()

	now := time.Now()
	f.must(f.Expire(f.ctx, now.Add(14*day-time.Minute), 0))
	if f.log.Len() > 0 {
		t.Fatalf("before its time: %s", f.log)
	}
	f.must(f.Expire(f.ctx, now.Add(14*day+time.Minute), 2*time.Minute))
	lines := strings.SplitAfter(f.log.String(), "\n")
	if len(lines) != 3 {
		t.Fatalf("logged %s", f.log)
	}
	for i, id := range []string{"uidl0", "uidl2"} {
		want := fmt.Sprintf("msg=expunged mailbox=look@me.com messages=1 octets=%d id=%s reason=expired\n", entries[0].Octets, id)
		if !strings.HasSuffix(lines[i], want) {
			t.Errorf("logged %swant %s", lines[i], want)
		}
	}
	for name, want := range map[string]int{"look@me.com": 1, "b@me.com": 1} {
		if left, err := f.Maildrop(f.ctx, name); err != nil || len(left.Entries) != want {
			t.Errorf("%s has %+v, %v", name, left, err)
		}
	}
}
