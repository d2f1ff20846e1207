package transcript

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long one step may take.
const patience = 10 * time.Second

// RunDir plays every *.txt file of dir as a subtest, each on a new connection from dial.
// A directory without such files fails the test. config is the client's TLS configuration
// for (starttls); it may be nil if no file uses that.
func RunDir(t *testing.T, dir string, dial func(t *testing.T) net.Conn, config *tls.Config) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts in %s (%v)", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			Run(t, dial(t), file, config)
		})
	}
}

// Run plays one file on conn and closes conn. The test fails with the dialogue up to the
// line that was not met, and what came instead.
func Run(t testing.TB, conn net.Conn, file string, config *tls.Config) {
	t.Helper()
	script, err := os.ReadFile(file)
	if err != nil {
		conn.Close()
		t.Fatal(err)
	}
	if played, err := play(conn, string(script), config, patience); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, played)
	}
}

// play returns the dialogue as far as it went, and closes the connection.
func play(conn net.Conn, script string, config *tls.Config, patience time.Duration) (played string, err error) {
	p := &player{conn: conn, in: bufio.NewReader(conn), config: config, patience: patience}
	defer func() { p.conn.Close() }()
	if !strings.HasPrefix(script, "# ") {
		return "", errors.New("the first line must be a comment that names the clause")
	}
	for i, line := range strings.Split(strings.TrimSuffix(script, "\n"), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		fmt.Fprintf(&p.played, "%4d  %s\n", i+1, line)
		if err := p.step(line); err != nil {
			return p.played.String(), fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	if p.held.Len() > 0 {
		return p.played.String(), errors.New("a C| line is left without a C: or C- line")
	}
	return p.played.String(), nil
}

// player is one dialogue under way.
type player struct {
	conn     net.Conn
	in       *bufio.Reader
	config   *tls.Config
	patience time.Duration
	held     bytes.Buffer // C| lines that wait for their C: or C- line
	played   strings.Builder
}

func (p *player) step(line string) error {
	// The error is ignored: on a connection that has ended, which may be expected, the
	// step itself will fail.
	_ = p.conn.SetDeadline(time.Now().Add(p.patience))
	switch line {
	case "(starttls)":
		return p.startTLS()
	case "(closed)":
		return p.expectClosed()
	case "(close)":
		return p.conn.Close()
	}
	mark, text, _ := strings.Cut(line, " ")
	if mark == "S~" {
		return p.expectMatch(text)
	}
	text, err := unescape(text)
	if err != nil {
		return err
	}
	switch mark {
	case "C|":
		p.held.WriteString(text + "\r\n")
		return nil
	case "C:":
		return p.send(text + "\r\n")
	case "C-":
		return p.send(text)
	case "S:":
		return p.expectText(text)
	}
	return fmt.Errorf("%q is no step; the package's documentation lists them", mark)
}

// send writes what was held back and this text in one call.
func (p *player) send(text string) error {
	p.held.WriteString(text)
	_, err := p.conn.Write(p.held.Bytes())
	p.held.Reset()
	return err
}

func (p *player) expectText(want string) error {
	got, err := p.readLine()
	if err != nil {
		return err
	}
	if !matches(got, want) {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

func (p *player) expectMatch(pattern string) error {
	want, err := regexp.Compile(`(?s)\A(?:` + pattern + `)\z`)
	if err != nil {
		return err
	}
	got, err := p.readLine()
	if err != nil {
		return err
	}
	if !want.MatchString(got) {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

func (p *player) readLine() (string, error) {
	got, err := p.in.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("got %q and then: %w", got, err)
	}
	line, ok := strings.CutSuffix(got, "\r\n")
	if !ok {
		return "", fmt.Errorf("got %q, which ends in a bare LF", got)
	}
	return line, nil
}

func (p *player) expectClosed() error {
	rest, err := io.ReadAll(p.in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("got %q and the connection is still open", rest)
	}
	// Any other error is an end too: a reset, or TLS cut off.
	if len(rest) > 0 {
		return fmt.Errorf("got %q before the end", rest)
	}
	return nil
}

func (p *player) startTLS() error {
	if p.config == nil {
		return errors.New("no TLS configuration was given")
	}
	if n := p.in.Buffered(); n > 0 {
		early, _ := p.in.Peek(n)
		return fmt.Errorf("got %q before the handshake", early)
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.patience)
	defer cancel()
	secure := tls.Client(p.conn, p.config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	p.conn, p.in = secure, bufio.NewReader(secure)
	return nil
}

// matches reports whether got is want, in which <*> stands for any characters.
func matches(got, want string) bool {
	parts := strings.Split(want, "<*>")
	last := len(parts) - 1
	got, ok := strings.CutPrefix(got, parts[0])
	if last == 0 || !ok {
		return ok && got == ""
	}
	for _, part := range parts[1:last] {
		if _, got, ok = strings.Cut(got, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(got, parts[last])
}

// unescape reads the escapes of a Go string.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for rest := s; rest != ""; {
		if rest[0] != '\\' {
			b.WriteByte(rest[0])
			rest = rest[1:]
			continue
		}
		r, multibyte, tail, err := strconv.UnquoteChar(rest, 0)
		if err != nil {
			return "", fmt.Errorf("bad escape in %q", s)
		}
		if multibyte {
			b.WriteRune(r)
		} else {
			b.WriteByte(byte(r))
		}
		rest = tail
	}
	return b.String(), nil
}
