package directory

import "mailsrv/quota"

// Policy is what a mailbox may hold and for how long its mail is kept. Each part that
// is not set is inherited: a mailbox's from its domain, a domain's from the server. The
// zero Policy sets nothing.
type Policy struct {
	Limit     quota.Limit
	Retention Retention
}

// Or fills the parts that p does not set from a wider policy.
func (p Policy) Or(wider Policy) Policy {
	return Policy{Limit: p.Limit.Or(wider.Limit), Retention: p.Retention.Or(wider.Retention)}
}
