package admin

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"mailsrv/internal/directory"
	"mailsrv/internal/logs"
	"mailsrv/internal/mail"
	"mailsrv/quota"
)

// record logs a change after its commit. attrs must not have a secret.
func (a *Admin) record(action string, attrs ...any) {
	a.Logger.Info(logs.Change, append([]any{logs.Action, action}, attrs...)...)
}

// recordAlias is record for an alias, on as many lines as its targets need.
func (a *Admin) recordAlias(action string, alias directory.Alias) {
	if len(alias.Targets) == 0 {
		a.record(action, logs.Alias, AliasName(alias.Address))
	}
	for part := range slices.Chunk(alias.Targets, perLine) {
		a.record(action, logs.Alias, AliasName(alias.Address), logs.Targets, joined(part))
	}
}

func joined(addresses []mail.Address) string {
	var texts []string
	for _, address := range addresses {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, " ")
}

// attrs returns the parts of a limit that were set, as attributes for record.
func (c LimitChange) attrs() (attrs []any) {
	if c.Octets != nil {
		text := quota.FormatSize(*c.Octets)
		if exact, err := quota.ParseSize(text); err != nil || exact != *c.Octets { // it was rounded
			text = strconv.FormatInt(*c.Octets, 10)
		}
		attrs = append(attrs, logs.Quota, orInherit(*c.Octets, text))
	}
	if c.Messages != nil {
		attrs = append(attrs, logs.MessageLimit, orInherit(*c.Messages, strconv.FormatInt(*c.Messages, 10)))
	}
	return attrs
}

// orInherit returns text if amount is above 0, else the name of its special value.
func orInherit(amount int64, text string) string {
	switch {
	case amount == quota.Inherit:
		return "inherit"
	case amount <= 0:
		return "none"
	}
	return text
}

// attrs returns the parts of a retention that were set, as attributes for record.
func (c RetentionChange) attrs() (attrs []any) {
	if c.Retrieved != nil {
		attrs = append(attrs, logs.KeepRetrieved, keepText(*c.Retrieved))
	}
	if c.Deleted != nil {
		attrs = append(attrs, logs.UndeleteFor, keepText(*c.Deleted))
	}
	return attrs
}

func keepText(d time.Duration) string {
	switch d {
	case 0:
		return "inherit"
	case directory.RetentionOff:
		return "off"
	}
	return d.String()
}
