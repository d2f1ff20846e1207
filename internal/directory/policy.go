package directory

import "mailsrv/quota"

// Policy is what a mailbox may hold and for how long its mail is kept. The zero
// Policy sets nothing: a mailbox inherits its domain's part by part, a domain the
// server's.
type Policy struct {
	Limit     quota.Limit
	Retention Retention
}

// Or fills what p does not set from a wider policy.
func (p Policy) Or(wider Policy) Policy {
	return Policy{Limit: p.Limit.Or(wider.Limit), Retention: p.Retention.Or(wider.Retention)}
}
