// Package wire reads lines and gathers replies for the protocols: replies to pipelined
// commands are sent together, before the next read that may have to wait. It sets no
// deadlines; the stream that it reads from and writes to does.
package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
)

var (
	// ErrTooLong: a line was longer than its limit, and has been skipped.
	ErrTooLong = errors.New("line too long")
	// ErrEndless: a line did not end within the octets that may be skipped.
	ErrEndless = errors.New("line without an end")
)

// ReadLine returns the next line with its end, valid until the next call. limit is called
// with the first octets of the line, and returns the most octets that it may have, end
// included. A longer line is skipped without being kept: the error is [ErrTooLong], or
// [ErrEndless] if it does not end within most octets (0: no bound). Any other error is
// that of in.
func ReadLine(in *bufio.Reader, limit func(begun []byte) int, most int) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	longest := limit(line)
	if errors.Is(err, bufio.ErrBufferFull) {
		var long []byte
		for octets := 0; ; {
			octets += len(line)
			if len(long) <= longest {
				long = append(long, line...)
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
			if most > 0 && octets >= most {
				return nil, ErrEndless
			}
			line, err = in.ReadSlice('\n')
		}
		line = long
	}
	switch {
	case err != nil:
		return nil, err
	case len(line) > longest:
		return nil, ErrTooLong
	}
	return line, nil
}

// Trim returns a line without its end, which is CRLF or a bare LF.
func Trim(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
}

// Keyword returns a word of a protocol in capitals, for comparing. Such words are ASCII
// (RFC 5234 section 2.3, RFC 1939 section 3): what lies beyond stays as it is, since
// Unicode has letters, such as U+017F, whose capital is an ASCII one.
func Keyword(word string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, word)
}

// Writers is a pool of buffers for replies. It is safe for concurrent use.
type Writers struct{ pool sync.Pool }

// NewWriters returns a pool of buffers of size octets each.
func NewWriters(size int) *Writers {
	return &Writers{sync.Pool{New: func() any { return bufio.NewWriterSize(nil, size) }}}
}

// Output gathers replies and sends them at Flush. It borrows a buffer only while it holds
// replies. It is not safe for concurrent use.
type Output struct {
	Writers *Writers
	To      io.Writer
	Err     error // of an earlier Flush; once set, nothing more is sent

	held *bufio.Writer
}

// Buffer returns the buffer that replies are written to, valid until Flush. Replies that
// do not fit are sent at once; Flush returns the error of that.
func (o *Output) Buffer() *bufio.Writer {
	if o.held == nil {
		o.held = o.Writers.pool.Get().(*bufio.Writer)
		o.held.Reset(o.To)
	}
	return o.held
}

// Flush sends the gathered replies. After an error the session must end.
func (o *Output) Flush() error {
	if o.held == nil {
		return o.Err
	}
	if o.Err == nil {
		o.Err = o.held.Flush()
	}
	o.held.Reset(nil)
	o.Writers.pool.Put(o.held)
	o.held = nil
	return o.Err
}

// Input is the reader of a session. It flushes Out before each read, so that the client
// has all replies before the session waits for it.
type Input struct {
	From io.Reader
	Out  *Output
}

// Read implements io.Reader.
func (i *Input) Read(p []byte) (int, error) {
	if err := i.Out.Flush(); err != nil {
		return 0, err
	}
	return i.From.Read(p)
}
