// Package wire is the ground of every protocol of lines: lines in, and replies out
// that are gathered until something has to be waited for. It sets no deadlines: the
// stream it reads from and writes to does.
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
	// ErrTooLong says that a line was longer than its limit, and has been skipped.
	ErrTooLong = errors.New("line too long")
	// ErrEndless says that a line did not end within what may be skipped.
	ErrEndless = errors.New("line without an end")
)

// ReadLine returns the next line with its end, valid until the next call. limit says
// of the first octets of a line how many it may have with its end; of one that is longer
// no more than that is kept, and ErrTooLong returned once it has been skipped, or
// ErrEndless after most octets of it; 0: there is no such bound. Any other error is in's.
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

// Trim returns a line without its end, CRLF or a bare LF.
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

// Writers is a pool of buffers for replies.
type Writers struct{ pool sync.Pool }

// NewWriters returns a pool of buffers of size octets each.
func NewWriters(size int) *Writers {
	return &Writers{sync.Pool{New: func() any { return bufio.NewWriterSize(nil, size) }}}
}

// Output gathers replies, in a buffer that it borrows only while it holds some.
type Output struct {
	Writers *Writers
	To      io.Writer
	Err     error // once set, nothing more is sent

	held *bufio.Writer
}

// Buffer is where replies are written. What does not fit is sent; errors are kept
// until Flush.
func (o *Output) Buffer() *bufio.Writer {
	if o.held == nil {
		o.held = o.Writers.pool.Get().(*bufio.Writer)
		o.held.Reset(o.To)
	}
	return o.held
}

// Flush sends what was gathered. After an error the session must end.
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

// Input is what a session reads from: replies to pipelined commands are gathered until
// a read may have to wait.
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
