package delivery

import "fmt"

// Reason is why mail is refused. The daemons turn it into their replies.
type Reason int

// The reasons.
const (
	NotHosted       Reason = iota // relay: the domain is not ours
	NoMailbox                     // hosted, but nobody of that name
	Disabled                      // the mailbox takes no mail
	BadAlias                      // the alias loops or expands beyond bounds
	Full                          // the maildrop is full; when_full: reject
	FullDeferred                  // the maildrop is full; when_full: defer
	TargetFull                    // one target of an alias is full
	TooLargeForBox                // more than the maildrop's whole limit
	SomeFull                      // not every recipient has room; nothing was stored
	MustBeAlone                   // a recipient that had no room shares no transaction
	Vanished                      // a recipient went away before the commit
	MessageTooLarge               // more than any message may have
	TooManyHops                   // caught in a loop
	BareNewline                   // CR or LF alone, where that is refused
	NoSpace                       // the disk is nearly full
	NoMemory                      // buffers or staging space are all taken
)

// Refusal is a reasoned no.
type Refusal struct {
	Reason Reason
	Detail string // for the log: what the peer need not know
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return fmt.Sprintf("refused (reason %d)", r.Reason)
	}
	return "refused: " + r.Detail
}

func refuse(r Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: r, Detail: fmt.Sprintf(format, args...)}
}
