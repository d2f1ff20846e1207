package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mailsrv/internal/admin"
	"mailsrv/quota"
	"mailsrv/storage"
)

// messageView is a message as JSON.
type messageView struct {
	Number  int        `json:"number"`
	Octets  int64      `json:"octets"`
	UIDL    string     `json:"uidl"`
	Date    *time.Time `json:"date"` // null: none that can be read
	From    string     `json:"from"`
	Subject string     `json:"subject"`
	Problem string     `json:"problem,omitempty"` // why the message could not be read
}

func (p *program) maildropList() *cobra.Command {
	c := &cobra.Command{
		Use:   "list ADDRESS [flags]",
		Short: "List the messages of a maildrop",
		Long: `Lists the messages that wait for a mailbox, oldest first, with date, sender and
subject as they stand in each: the words of whoever sent it. Dates are in the
time zone of this machine, in JSON in UTC. What is long is cut to the width of
the terminal; --json has more of it.`,
		Example: "  mailsrv maildrop list look@me.com",
	}
	asJSON := jsonFlag(c)
	return p.command(c, exactly("an ADDRESS"), func(ctx context.Context, args []string) error {
		return p.with(ctx, func(a *admin.Admin) error {
			drop, err := a.Maildrop(ctx, args[0])
			switch {
			case err != nil:
				return err
			case *asJSON:
				return p.listJSON(ctx, drop)
			case len(drop.Entries) == 0:
				p.printf("The maildrop of %s is empty.\n", args[0])
				return nil
			}
			return p.listMessages(ctx, drop)
		})
	})
}

// listJSON writes the messages one by one, since a maildrop may hold very many.
func (p *program) listJSON(ctx context.Context, drop *admin.Maildrop) error {
	before := "[\n  "
	for i, e := range drop.Entries {
		head, problem, err := readHead(ctx, drop, e)
		if err != nil {
			return err
		}
		v := messageView{Number: i + 1, Octets: e.Octets, UIDL: e.UIDL, From: head.From, Subject: head.Subject, Problem: problem}
		if !head.Date.IsZero() {
			date := head.Date.UTC()
			v.Date = &date
		}
		text, err := json.MarshalIndent(v, "  ", "  ")
		if err != nil {
			return err
		}
		p.out.WriteString(before)
		p.writeJSON(text)
		before = ",\n  "
	}
	end := "\n]\n"
	if len(drop.Entries) == 0 {
		end = "[]\n"
	}
	_, err := p.out.WriteString(end)
	return err
}

// readHead reads the head of a message. An error that concerns this message alone becomes
// a problem: a text for people.
func readHead(ctx context.Context, drop *admin.Maildrop, e storage.Entry) (head admin.Head, problem string, err error) {
	head, err = drop.Head(ctx, e)
	switch {
	case errors.Is(err, storage.ErrDamaged):
		return head, "damaged on the disk: see: mailsrv check", nil
	case errors.Is(err, storage.ErrGone):
		return head, "removed a moment ago", nil
	}
	return head, "", err
}

// listMessages writes a table. The widths of its columns are fixed before the first
// message is read.
func (p *program) listMessages(ctx context.Context, drop *admin.Maildrop) error {
	const (
		dateForm            = "2006-01-02 15:04"
		leastFrom, mostFrom = 16, 30
		leastSubject        = 24
	)
	titles := []string{"NUMBER", "SIZE", "UIDL", "DATE", "FROM", "SUBJECT"}
	right := []bool{true, true, false, false, false, false}
	widths := []int{len("NUMBER"), len("SIZE"), len("UIDL"), len(dateForm), mostFrom, 50}
	widths[0] = max(widths[0], len(strconv.Itoa(len(drop.Entries))))
	for _, e := range drop.Entries {
		widths[1] = max(widths[1], len(quota.FormatSize(e.Octets)))
		widths[2] = max(widths[2], utf8.RuneCountInString(printable(e.UIDL)))
	}
	if columns := p.columns(); columns > 0 {
		room := columns - 2*(len(widths)-1)
		for _, width := range widths[:4] {
			room -= width
		}
		widths[4] = max(leastFrom, min(mostFrom, room*2/5))
		widths[5] = max(leastSubject, room-widths[4])
	}
	writeRow(p.out, widths, right, titles)
	for i, e := range drop.Entries {
		head, problem, err := readHead(ctx, drop, e)
		if err != nil {
			return err
		}
		date, from, subject := "-", "-", head.Subject
		if !head.Date.IsZero() {
			date = head.Date.Local().Format(dateForm)
		}
		if head.Sender != "" {
			from = head.Sender
		}
		if problem != "" {
			subject = "(" + problem + ")"
		}
		writeRow(p.out, widths, right, []string{
			strconv.Itoa(i + 1), quota.FormatSize(e.Octets), printable(e.UIDL), date,
			cut(printable(from), widths[4]), cut(printable(subject), widths[5]),
		})
	}
	return nil
}

// columns returns the width of the terminal in characters, or 0 if there is none.
func (p *program) columns() int {
	if !isTerminal(p.stdout) {
		return 0
	}
	columns, _, err := term.GetSize(int(p.stdout.(interface{ Fd() uintptr }).Fd()))
	if err != nil || columns <= 0 {
		return 80
	}
	return columns
}

// cut shortens a text to at most most characters, and marks that it did.
func cut(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
