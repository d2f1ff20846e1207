package main

import (
	"time"

	"mailsrv/internal/admin"
	"mailsrv/internal/directory"
	"mailsrv/quota"
)

// quotaView is usage and limit as JSON. Limits of 0 do not limit; the own ones
// are null where the wider limit counts.
type quotaView struct {
	Octets           int64  `json:"octets"`
	LimitOctets      int64  `json:"limit_octets"`
	OwnLimitOctets   *int64 `json:"own_limit_octets"`
	Messages         int64  `json:"messages"`
	LimitMessages    int64  `json:"limit_messages"`
	OwnLimitMessages *int64 `json:"own_limit_messages"`
	Percent          *int   `json:"percent"` // null: no limit
}

func viewQuota(usage quota.Usage, own, effective quota.Limit) quotaView {
	v := quotaView{
		Octets: usage.Octets, LimitOctets: max(effective.Octets, 0), OwnLimitOctets: ownAmount(own.Octets),
		Messages: usage.Messages, LimitMessages: max(effective.Messages, 0), OwnLimitMessages: ownAmount(own.Messages),
	}
	if percent, limited := effective.Percent(usage); limited {
		v.Percent = &percent
	}
	return v
}

// ownAmount returns a part of a limit: null if nothing is set, 0 for no limit.
func ownAmount(limit int64) *int64 {
	if limit == quota.Inherit {
		return nil
	}
	n := max(limit, 0)
	return &n
}

// mailboxView is a mailbox as JSON, without its hash.
type mailboxView struct {
	Address  string    `json:"address"`
	Enabled  bool      `json:"enabled"` // false: all of the next three are off
	Receives bool      `json:"receives"`
	LogsIn   bool      `json:"logs_in"`
	Sends    bool      `json:"sends"`
	Created  time.Time `json:"created"`
	Quota    quotaView `json:"quota"`
	// Seconds; 0 is off, and the own ones are null where the domain's count.
	KeepRetrieved    int64  `json:"keep_retrieved_seconds"`
	OwnKeepRetrieved *int64 `json:"own_keep_retrieved_seconds"`
	UndeleteFor      int64  `json:"undelete_for_seconds"`
	OwnUndeleteFor   *int64 `json:"own_undelete_for_seconds"`
	// Deleted messages that can be undeleted.
	AsideOctets   int64 `json:"aside_octets"`
	AsideMessages int64 `json:"aside_messages"`
}

func viewMailbox(m directory.Mailbox, aside quota.Usage) mailboxView {
	return mailboxView{
		Address: m.Address.String(), Enabled: !m.Switches.Disabled(), Created: m.Created.UTC(),
		Receives: m.Switches.Has(directory.Receives), LogsIn: m.Switches.Has(directory.LogsIn), Sends: m.Switches.Has(directory.Sends),
		Quota:         viewQuota(m.Usage, m.Limit, m.Effective.Limit),
		KeepRetrieved: seconds(m.Effective.Retention.Retrieved), OwnKeepRetrieved: ownSeconds(m.Retention.Retrieved),
		UndeleteFor: seconds(m.Effective.Retention.Deleted), OwnUndeleteFor: ownSeconds(m.Retention.Deleted),
		AsideOctets: aside.Octets, AsideMessages: aside.Messages,
	}
}

// seconds returns a part of a retention in seconds; 0: off.
func seconds(keep time.Duration) int64 { return int64(max(keep, 0) / time.Second) }

// ownSeconds is seconds, but null if nothing is set.
func ownSeconds(keep time.Duration) *int64 {
	if keep == 0 {
		return nil
	}
	n := seconds(keep)
	return &n
}

// domainView is a domain as JSON. Its limits count for each mailbox that sets none.
type domainView struct {
	Name             string    `json:"name"`
	Postmaster       *string   `json:"postmaster"` // null: no mailbox yet
	PostmasterChosen bool      `json:"postmaster_chosen"`
	Mailboxes        int       `json:"mailboxes"`
	Aliases          int       `json:"aliases"`
	Octets           int64     `json:"octets"`
	Messages         int64     `json:"messages"`
	LimitOctets      int64     `json:"mailbox_limit_octets"`
	OwnLimitOctets   *int64    `json:"own_mailbox_limit_octets"`
	LimitMessages    int64     `json:"mailbox_limit_messages"`
	OwnLimitMessages *int64    `json:"own_mailbox_limit_messages"`
	KeepRetrieved    int64     `json:"mailbox_keep_retrieved_seconds"` // 0: off
	UndeleteFor      int64     `json:"mailbox_undelete_for_seconds"`   // 0: off
	Created          time.Time `json:"created"`
}

func viewDomain(d admin.Domain) domainView {
	q := viewQuota(d.Usage, d.Limit, d.Effective.Limit)
	v := domainView{
		Name: d.Name, PostmasterChosen: !d.Postmaster.IsZero(),
		Mailboxes: d.Mailboxes, Aliases: d.Aliases, Octets: q.Octets, Messages: q.Messages,
		LimitOctets: q.LimitOctets, OwnLimitOctets: q.OwnLimitOctets,
		LimitMessages: q.LimitMessages, OwnLimitMessages: q.OwnLimitMessages,
		KeepRetrieved: seconds(d.Effective.Retention.Retrieved), UndeleteFor: seconds(d.Effective.Retention.Deleted),
		Created: d.Created.UTC(),
	}
	if !d.Serving.IsZero() {
		address := d.Serving.String()
		v.Postmaster = &address
	}
	return v
}

// aliasView is an alias as JSON.
type aliasView struct {
	Address string   `json:"address"`
	Targets []string `json:"targets"`
}

func viewAlias(a directory.Alias) aliasView {
	v := aliasView{Address: admin.AliasName(a.Address), Targets: []string{}}
	for _, target := range a.Targets {
		v.Targets = append(v.Targets, target.String())
	}
	return v
}

// views applies one of the functions above to a list; none is [], not null.
func views[T, V any](all []T, view func(T) V) []V {
	list := make([]V, 0, len(all))
	for _, one := range all {
		list = append(list, view(one))
	}
	return list
}
