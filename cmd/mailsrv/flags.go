package main

import (
	"errors"
	"strconv"
	"strings"

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

// amountFlag is a flag for one part of a limit; value is nil until it is given.
type amountFlag struct {
	kind  string
	parse func(string) (int64, error)
	value *int64
}

func (f *amountFlag) Set(text string) error {
	n, err := f.parse(text)
	if err == nil {
		f.value = &n
	}
	return err
}

func (f *amountFlag) String() string { return "" }
func (f *amountFlag) Type() string   { return f.kind }

func parseSize(text string) (int64, error) {
	if strings.EqualFold(text, inherit) {
		return quota.Inherit, nil
	}
	return quota.ParseSize(text)
}

func parseCount(text string) (int64, error) {
	if strings.EqualFold(text, inherit) {
		return quota.Inherit, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, errors.New("write a whole number, 0 for no limit, or inherit")
	}
	return n, nil
}

// jsonFlag adds --json.
func jsonFlag(c *cobra.Command) *bool {
	return c.Flags().Bool("json", false, "print JSON, for programs")
}
