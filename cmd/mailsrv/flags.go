package main

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mailsrv/internal/admin"
	"mailsrv/quota"
)

// inherit is how the command line writes quota.Inherit.
const inherit = "inherit"

// limitFlags are --quota and --messages.
type limitFlags struct {
	octets   amountFlag
	messages amountFlag
}

func (f *limitFlags) register(c *cobra.Command, wider string) {
	f.octets = amountFlag{kind: "SIZE", parse: parseSize}
	f.messages = amountFlag{kind: "N", parse: parseCount}
	c.Flags().Var(&f.octets, "quota", "most octets held, such as 500MiB; 0 for no limit, inherit for "+wider)
	c.Flags().Var(&f.messages, "messages", "most messages held; 0 for no limit, or inherit")
}

func (f *limitFlags) change() admin.LimitChange {
	return admin.LimitChange{Octets: f.octets.value, Messages: f.messages.value}
}

func (f *limitFlags) given() bool { return f.octets.value != nil || f.messages.value != nil }

// retentionFlags are --keep-retrieved and --undelete-for.
type retentionFlags struct {
	retrieved parsedFlag[time.Duration]
	deleted   parsedFlag[time.Duration]
}

func (f *retentionFlags) register(c *cobra.Command, orElse string) {
	f.retrieved = parsedFlag[time.Duration]{kind: "TIME", parse: parseKeep}
	f.deleted = f.retrieved
	c.Flags().Var(&f.retrieved, "keep-retrieved", "remove a message so long after it was retrieved, such as 14d; "+orElse)
	c.Flags().Var(&f.deleted, "undelete-for", "keep what is deleted so long for undeleting, such as 7d; "+orElse)
}

func (f *retentionFlags) change() admin.RetentionChange {
	return admin.RetentionChange{Retrieved: f.retrieved.value, Deleted: f.deleted.value}
}

func (f *retentionFlags) given() bool { return f.retrieved.value != nil || f.deleted.value != nil }

// mailboxFlags are the flags that domains and mailboxes share.
type mailboxFlags struct {
	limit     limitFlags
	retention retentionFlags
}

func (f *mailboxFlags) register(c *cobra.Command, limit, retention string) {
	f.limit.register(c, limit)
	f.retention.register(c, retention)
}

func (f *mailboxFlags) change() admin.MailboxChange {
	return admin.MailboxChange{Limit: f.limit.change(), Retention: f.retention.change()}
}

func (f *mailboxFlags) given() bool { return f.limit.given() || f.retention.given() }

// amountFlag is a flag for one part of a limit.
type amountFlag = parsedFlag[int64]

// parsedFlag is a flag whose value is nil until it is given.
type parsedFlag[T any] struct {
	kind  string
	parse func(string) (T, error)
	value *T
}

func (f *parsedFlag[T]) Set(text string) error {
	v, err := f.parse(text)
	if err == nil {
		f.value = &v
	}
	return err
}

func (f *parsedFlag[T]) String() string { return "" }
func (f *parsedFlag[T]) Type() string   { return f.kind }

func parseSize(text string) (int64, error) {
	if strings.EqualFold(text, inherit) {
		return quota.Inherit, nil
	}
	octets, err := quota.ParseSize(text)
	return quota.OrUnlimited(octets), err
}

func parseCount(text string) (int64, error) {
	if strings.EqualFold(text, inherit) {
		return quota.Inherit, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("write a whole number, 0 for no limit, or inherit")
	}
	return quota.OrUnlimited(n), nil
}

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON, for programs")
}
