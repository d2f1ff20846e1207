package delivery

import (
	"log/slog"
	"sync"

	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// fullness logs once that a full maildrop refuses mail, and once more when it has room
// again. It knows a bounded number of maildrops and forgets them at a restart.
type fullness struct {
	logger *slog.Logger

	mu    sync.Mutex
	known ring[mail.MailboxID, fill]
}

// fill is how full a maildrop was when it refused mail first.
type fill struct {
	full     bool
	usage    quota.Usage
	limit    quota.Limit
	refusals int // since then
}

// refused notes that a maildrop had no room for a message.
func (f *fullness) refused(m directory.Mailbox, limit quota.Limit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.known.values[m.ID]
	first := !now.full
	if first {
		now = fill{full: true, usage: m.Usage, limit: limit}
	}
	now.refusals++
	f.known.put(m.ID, now)
	if first {
		f.logger.Warn(logs.Warning, logs.Mailbox, m.Address.String(), logs.Messages, m.Usage.Messages, logs.Octets, m.Usage.Octets,
			logs.Reason, "the maildrop is full and refuses mail: its owner has to delete some, or raise its limit with: mailsrv quota set")
	}
}

// fits notes that a maildrop had room for a message. That alone does not end fullness,
// since a small message may fit where a larger one did not. It ends when the usage is
// lower than at the first refusal, or the limit higher.
func (f *fullness) fits(m directory.Mailbox, limit quota.Limit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	then := f.known.values[m.ID]
	if !then.full {
		return
	}
	wider := func(now, before int64) bool { return before > 0 && (now <= 0 || now > before) }
	if m.Usage.Octets >= then.usage.Octets && m.Usage.Messages >= then.usage.Messages &&
		!wider(limit.Octets, then.limit.Octets) && !wider(limit.Messages, then.limit.Messages) {
		return
	}
	f.known.put(m.ID, fill{})
	f.logger.Warn(logs.Warning, logs.Mailbox, m.Address.String(), logs.Refusals, then.refusals,
		logs.Reason, "the maildrop was full and has room again")
}
