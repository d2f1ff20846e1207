package directory

import "time"

// RetentionOff in a part of a Retention switches it off where a wider one is on.
const RetentionOff time.Duration = -1

// MinRetention is the least that may be set: a client that fetches once a day
// must find its mail.
const MinRetention = 24 * time.Hour

// Retention says for how long mail is kept, in whole seconds. A part that is 0
// is not set: the next wider one counts, and what nobody sets is off.
type Retention struct {
	Retrieved time.Duration // a message goes so long after it was retrieved
	Deleted   time.Duration // what was deleted can be brought back so long
}

// Or fills what r does not set from a wider retention.
func (r Retention) Or(wider Retention) Retention {
	if r.Retrieved == 0 {
		r.Retrieved = wider.Retrieved
	}
	if r.Deleted == 0 {
		r.Deleted = wider.Deleted
	}
	return r
}
