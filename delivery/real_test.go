//go:build cgo

package delivery

import (
	"strings"
	"testing"

	"mailsrv/internal/refusal"
	"mailsrv/quota"
	"mailsrv/storage/sqlite"
)

// One message is delivered to several maildrops of storage/sqlite, to all or to none.
func TestOnTheRealStore(t *testing.T) {
	store, err := sqlite.Open(background, t.TempDir(), sqlite.Options{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOn(t, store, Settings{})
	w.mailbox("a@me.com", quota.Inherit)
	w.mailbox("b@me.com", quota.Inherit)
	w.mailbox("small@me.com", 500)
	text := "Subject: x\r\n\r\n" + strings.Repeat("x", 600) + "\r\n"
	send := func(to ...string) error {
		tr := w.begin(0)
		for _, name := range to {
			w.must(tr.AddRecipient(background, address(name)))
		}
		_, err := tr.Deliver(background, strings.NewReader(text))
		return err
	}
	w.must(send("a@me.com", "b@me.com"))
	w.wantReason(send("a@me.com", "small@me.com"), refusal.SomeFull)
	for name, n := range map[string]int64{"a@me.com": 1, "b@me.com": 1, "small@me.com": 0} {
		if got := w.messages(name); got != n {
			t.Errorf("%s holds %d messages, want %d", name, got, n)
		}
	}
	if got := w.first("b@me.com"); !strings.HasSuffix(got, text) || !strings.Contains(got, "Delivered-To: b@me.com\r\n") {
		t.Errorf("b holds %q", got)
	}
}
