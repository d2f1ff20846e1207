// Package quota is the arithmetic of limits: what is held now ([Usage]), what is
// allowed ([Limit]), and whether one more message still fits ([Limit.Judge]). It does
// no I/O and knows no mailbox. The store applies its rules inside the transaction that
// adds a message.
package quota

// Usage is what a maildrop holds now.
type Usage struct {
	Octets   int64 // as on the wire: CRLF and trace fields included
	Messages int64
}

// Add returns the sum of two usages.
func (u Usage) Add(v Usage) Usage {
	return Usage{Octets: u.Octets + v.Octets, Messages: u.Messages + v.Messages}
}

// Values of a [Limit] that are not amounts.
const (
	Inherit   int64 = 0  // not set here: the next wider limit applies
	Unlimited int64 = -1 // no limit, whatever the wider ones are
)

// OrUnlimited converts an amount in which 0 means no limit, as users and database
// columns write it, into a value of [Limit].
func OrUnlimited(amount int64) int64 {
	if amount == 0 {
		return Unlimited
	}
	return amount
}

// Limit is what a mailbox may hold. Each part is an amount above 0, [Unlimited] or
// [Inherit]. A part that is Inherit at every level does not limit.
type Limit struct {
	Octets   int64
	Messages int64
}

// Or fills each part of l that is [Inherit] from the wider limit. A mailbox's
// limit falls back to its domain's, and that to the server's:
//
//	effective := mailbox.Or(domain).Or(server)
func (l Limit) Or(wider Limit) Limit {
	if l.Octets == Inherit {
		l.Octets = wider.Octets
	}
	if l.Messages == Inherit {
		l.Messages = wider.Messages
	}
	return l
}

// Verdict says whether an addition fits under a limit.
type Verdict int

// The verdicts, from best to worst.
const (
	Fits     Verdict = iota
	Full             // does not fit now; it may once mail has been deleted
	TooLarge         // larger than the whole limit: it never fits
)

// Judge says whether add fits under l when u is held already. A part of l that is
// [Unlimited] or [Inherit] does not limit.
func (l Limit) Judge(u, add Usage) Verdict {
	switch {
	case over(l.Octets, 0, add.Octets), over(l.Messages, 0, add.Messages):
		return TooLarge
	case over(l.Octets, u.Octets, add.Octets), over(l.Messages, u.Messages, add.Messages):
		return Full
	}
	return Fits
}

// over reports held+add > limit without overflowing.
func over(limit, held, add int64) bool {
	return limit > 0 && add > 0 && (held > limit || add > limit-held)
}

// Percent returns how full the limit is, in whole percent: of octets or messages,
// whichever is fuller. It is above 100 where the limit was lowered below the usage.
// The second result is false when neither is limited.
func (l Limit) Percent(u Usage) (int, bool) {
	p, limited := 0, false
	for _, d := range [2][2]int64{{l.Octets, u.Octets}, {l.Messages, u.Messages}} {
		if d[0] > 0 {
			limited = true
			p = max(p, int(float64(d[1])*100/float64(d[0])))
		}
	}
	return p, limited
}
