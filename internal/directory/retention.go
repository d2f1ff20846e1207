package directory

import "time"

// RetentionOff is the value of a part of a [Retention] that is off, whatever the wider
// ones are.
const RetentionOff time.Duration = -1

// MinRetention is the shortest time that may be set, so that a client that fetches once
// a day finds its mail.
const MinRetention = 24 * time.Hour

// Retention says for how long mail is kept, in whole seconds. A part that is 0 is
// inherited from the next wider one. A part that is 0 at every level is off.
type Retention struct {
	Retrieved time.Duration // a message is removed this long after POP3 retrieved it
	Deleted   time.Duration // a deleted message can be brought back for this long
}

// Or fills the parts that r does not set from a wider retention.
func (r Retention) Or(wider Retention) Retention {
	if r.Retrieved == 0 {
		r.Retrieved = wider.Retrieved
	}
	if r.Deleted == 0 {
		r.Deleted = wider.Deleted
	}
	return r
}
