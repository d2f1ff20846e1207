package directory

import "time"

// RetentionOff in a part of a Retention switches it off where a wider one is on.
const RetentionOff time.Duration = -1

// MinRetention is the least that may be set: a client that fetches once a day
// must find its mail.
const MinRetention = 24 * time.Hour

// Retention says for how long mail is kept, in whole seconds. A part that is 0
// is not set: a mailbox inherits the domain's, and what nobody sets is off.
type Retention struct {
	Retrieved time.Duration // a message goes so long after it was retrieved
	Deleted   time.Duration // what was deleted can be brought back so long
}

// Effective fills what a mailbox does not set from its domain's retention. In
// the result 0 means off.
func (r Retention) Effective(domain Retention) Retention {
	return Retention{
		Retrieved: effective(r.Retrieved, domain.Retrieved),
		Deleted:   effective(r.Deleted, domain.Deleted),
	}
}

func effective(own, wider time.Duration) time.Duration {
	if own == 0 {
		own = wider
	}
	return max(own, 0)
}
