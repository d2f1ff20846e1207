package refusal

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// Every reason has a unique name, and a reply whose two codes agree.
func TestTable(t *testing.T) {
	form := regexp.MustCompile(`\A[a-z0-9]+(-[a-z0-9]+)*\z`)
	names := map[string]bool{"": true}
	for r := Reason(1); r < end; r++ {
		name, reply := r.Name(), r.Reply("mail.me.com")
		if names[name] || !form.MatchString(name) {
			t.Errorf("reason %d has the name %q", r, name)
		}
		names[name] = true
		class := reply.Code / 100
		if class != 4 && class != 5 || r != NoName && reply.Enhanced[0] != class || r.Temporary() != (class == 4) {
			t.Errorf("%s: %v", name, reply)
		}
		if line := reply.Line(); len(line) > 512 || strings.Contains(line, "%") || !strings.HasSuffix(line, "\r\n") ||
			strings.Count(line, "\n") != 1 {
			t.Errorf("%s: %q", name, line)
		}
	}
}

func TestReply(t *testing.T) {
	for r, want := range map[Reason]string{
		NotHosted: "550 5.7.1 mail.me.com takes mail for its own domains only; to send to others use your outgoing server\r\n",
		NoName:    "501 EHLO and HELO take the name of the client\r\n",
		Full:      "552 5.2.2 The mailbox is full\r\n",
	} {
		if got := r.Reply("mail.me.com").Line(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestOf(t *testing.T) {
	r := New(Full, "maildrop of %s is full", "a@me.com")
	if got := Of(fmt.Errorf("deliver: %w", r)); got != r || got.Error() != "refused: maildrop of a@me.com is full" {
		t.Errorf("got %v", got)
	}
	if got := Of(errors.New("disk")); got != nil {
		t.Errorf("a failure is a refusal: %v", got)
	}
	if got := New(Full, "").Error(); got != "refused: full" {
		t.Error(got)
	}
}
