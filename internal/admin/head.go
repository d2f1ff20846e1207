package admin

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	netmail "net/mail"
	"strings"
	"time"

	"mailsrv/internal/mail"
	"mailsrv/storage"
)

// Bounds on what is read of a message, in octets.
const (
	maxHead  = 64 << 10
	maxValue = 2 << 10 // of one field
)

// Head is what a list shows of a message: the first field of each name, decoded
// (RFC 2047). The texts are the sender's, and may have control characters.
type Head struct {
	Date    time.Time // zero if there is none that can be read
	From    string    // the whole field
	Sender  string    // the address in From, or the whole field if it has none
	Subject string
}

// Maildrop is a snapshot of a maildrop.
type Maildrop struct {
	Entries []storage.Entry // message number 1 is the first
	drop    storage.Maildrop
	address mail.Address
}

// Maildrop opens the maildrop of an address. It need not be closed.
func (a *Admin) Maildrop(ctx context.Context, address string) (*Maildrop, error) {
	m, drop, entries, err := a.open(ctx, address)
	if err != nil {
		return nil, err
	}
	return &Maildrop{Entries: entries, drop: drop, address: m.Address}, nil
}

// Head reads the head of one message. Fields that cannot be read are left out. Errors:
// those of [storage.Maildrop].Message, wrapped.
func (m *Maildrop) Head(ctx context.Context, e storage.Entry) (Head, error) {
	text, err := m.begin(ctx, e)
	if err != nil {
		return Head{}, fmt.Errorf("read message %s of %s: %w", e.UIDL, m.address, err)
	}
	return parseHead(text), nil
}

// begin returns the octets of a message up to the line that ends its head, or up to
// maxHead, or somewhat more.
func (m *Maildrop) begin(ctx context.Context, e storage.Entry) ([]byte, error) {
	message, err := m.drop.Message(ctx, e, 0)
	if err != nil {
		return nil, err
	}
	defer message.Close()
	var text []byte
	for len(text) < maxHead && !bytes.Contains(text, []byte("\r\n\r\n")) {
		piece, err := message.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		text = append(text, piece[:min(len(piece), maxHead)]...)
	}
	return text, nil
}

// parseHead reads the fields of a head and skips lines that are none. net/mail would
// refuse a message with one broken field.
func parseHead(text []byte) (h Head) {
	fields := map[string]string{"date": "", "from": "", "subject": ""}
	wanted := "" // the field that a continuation line belongs to
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			if value := fields[wanted]; wanted != "" && len(value) < maxValue {
				fields[wanted] = value + " " + string(bound(bytes.TrimSpace(line)))
			}
			continue
		}
		wanted = ""
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			continue
		}
		key := string(bytes.ToLower(bytes.TrimSpace(bound(name))))
		if before, known := fields[key]; known && before == "" {
			wanted = key
			fields[key] = string(bound(bytes.TrimSpace(value)))
		}
	}
	h.From, h.Subject = decode(fields["from"]), decode(fields["subject"])
	h.Sender = h.From
	if list, err := netmail.ParseAddressList(fields["from"]); err == nil && len(list) > 0 { // a group may be empty
		h.Sender = list[0].Address
	}
	// JSON has only four digits for a year, in any time zone.
	if date, err := netmail.ParseDate(fields["date"]); err == nil && 0 < date.Year() && date.Year() < 9999 {
		h.Date = date
	}
	return h
}

func bound(value []byte) []byte { return value[:min(len(value), maxValue)] }

// decode decodes the encoded words of a field. If one is in an unknown character set, it
// returns the field as it is.
func decode(value string) string {
	value = strings.TrimSpace(value)
	if text, err := new(mime.WordDecoder).DecodeHeader(value); err == nil {
		value = text
	}
	return strings.ToValidUTF8(value, "\ufffd")
}
