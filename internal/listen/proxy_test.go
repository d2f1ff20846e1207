package listen_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailsrv/internal/listen"
	"mailsrv/internal/logs"
)

var proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}

// binaryHeader is version 2 of the PROXY protocol.
func binaryHeader(command, family byte, addresses ...byte) string {
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return string(append(binary.BigEndian.AppendUint16(h, uint16(len(addresses))), addresses...))
}

func tcp4(source ...byte) []byte { return append(source, 127, 0, 0, 1, 0x30, 0x39, 0, 25) }

func tcp6(source string) []byte {
	a := netip.MustParseAddr(source).As16()
	return append(append(append([]byte{}, a[:]...), a[:]...), 0x30, 0x39, 0, 25)
}

// What a proxy says of its client, in one packet or in many, with what follows it.
func TestProxyHeader(t *testing.T) {
	for name, test := range map[string]struct {
		header, client string
		probe          bool
	}{
		"line":                  {"PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n", "192.0.2.7", false},
		"line of IPv6":          {"PROXY TCP6 2001:db8::7 ::1 4000 25\r\n", "2001:db8::7", false},
		"line, IPv4 in IPv6":    {"PROXY TCP6 ::ffff:192.0.2.7 ::1 4000 25\r\n", "192.0.2.7", false},
		"line, unknown":         {"PROXY UNKNOWN\r\n", "127.0.0.9", true},
		"line, unknown, longer": {"PROXY UNKNOWN ffff:f... 1 2\r\n", "127.0.0.9", true},
		"binary":                {binaryHeader(0x21, 0x11, tcp4(192, 0, 2, 7)...), "192.0.2.7", false},
		"binary of IPv6":        {binaryHeader(0x21, 0x21, tcp6("2001:db8::7")...), "2001:db8::7", false},
		"binary with notes":     {binaryHeader(0x21, 0x11, append(tcp4(192, 0, 2, 7), make([]byte, 900)...)...), "192.0.2.7", false},
		"binary, own":           {binaryHeader(0x20, 0x00), "127.0.0.9", true},
		"binary, no addresses":  {binaryHeader(0x21, 0x00), "127.0.0.9", true},
		"claims to be here":     {"PROXY TCP4 127.0.0.1 127.0.0.1 4000 25\r\n", "127.0.0.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, cut := range []int{1, 7, 1 << 20} {
				s := newServer(t, listen.Limits{Proxies: proxies}, logs.Discard())
				client := s.dial(t, "127.0.0.9")
				for text := test.header + "EHLO x\r\n"; text != ""; {
					n := min(cut, len(text))
					io.WriteString(client, text[:n])
					text = text[n:]
				}
				select {
				case c := <-s.accepted:
					defer c.Close()
					if c.Client() != netip.MustParseAddr(test.client) || c.Probe() != test.probe || c.Loopback() {
						t.Errorf("client %v, probe %v, loopback %v", c.Client(), c.Probe(), c.Loopback())
					}
					if line, err := bufio.NewReader(c).ReadString('\n'); line != "EHLO x\r\n" {
						t.Errorf("then came %q, %v", line, err)
					}
				case <-time.After(timeout):
					t.Fatal("not accepted")
				}
			}
		})
	}
}

// What is no header from a proxy ends its connection; nobody is greeted.
func TestBadProxyHeader(t *testing.T) {
	for name, header := range map[string]string{
		"none":               "EHLO x\r\n",
		"no address":         "PROXY TCP4 x 127.0.0.1 4000 25\r\n",
		"other family":       "PROXY TCP4 2001:db8::7 ::1 4000 25\r\n",
		"zone":               "PROXY TCP6 fe80::1%eth0 ::1 4000 25\r\n",
		"words":              "PROXY TCP4 192.0.2.7\r\n",
		"no protocol":        "PROXY \r\n",
		"line without end":   "PROXY TCP4 " + strings.Repeat("1", 200),
		"unix":               binaryHeader(0x21, 0x31, make([]byte, 216)...),
		"datagrams":          binaryHeader(0x21, 0x12, tcp4(192, 0, 2, 7)...),
		"short":              binaryHeader(0x21, 0x11, 1, 2, 3),
		"version":            binaryHeader(0x11, 0x11, tcp4(192, 0, 2, 7)...),
		"long":               binaryHeader(0x21, 0x11, make([]byte, 60000)...),
		"almost a signature": "\r\n\r\n\x00\r\nQUIX\n",
	} {
		t.Run(name, func(t *testing.T) {
			var log logs.Recorder
			s := newServer(t, listen.Limits{Proxies: proxies}, slog.New(slog.NewTextHandler(&log, nil)))
			client := s.dial(t, "127.0.0.9")
			io.WriteString(client, header)
			if text, _ := io.ReadAll(client); len(text) > 0 {
				t.Errorf("heard %q", text)
			}
			for end := time.Now().Add(timeout); s.Open() > 0 && time.Now().Before(end); {
				time.Sleep(time.Millisecond)
			}
			if s.Open() != 0 || !strings.Contains(log.String(), `client=127.0.0.9 reason="no PROXY header" error=`) {
				t.Errorf("%d are open: %s", s.Open(), log.String())
			}
		})
	}
}

// Who is no proxy is no proxy, whatever it sends.
func TestProxyHeaderFromElsewhere(t *testing.T) {
	s := newServer(t, listen.Limits{Proxies: proxies}, logs.Discard())
	const header = "PROXY TCP4 192.0.2.7 127.0.0.1 4000 25\r\n"
	client, c := s.admitted(t, "127.0.0.8")
	io.WriteString(client, header)
	if line, err := bufio.NewReader(c).ReadString('\n'); line != header || c.Client() != netip.MustParseAddr("127.0.0.8") || !c.Loopback() {
		t.Errorf("%q, %v from %v", line, err, c.Client())
	}
}

// A silent proxy holds up nobody, counts among the connections, and ends with a drain.
func TestSilentProxy(t *testing.T) {
	s := newServer(t, listen.Limits{Connections: 2, Proxies: proxies}, logs.Discard())
	silent := s.dial(t, "127.0.0.9")
	for end := time.Now().Add(timeout); s.Open() == 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_, c := s.admitted(t, "127.0.0.8")
	s.refused(t, "127.0.0.8")
	result := drain(t, t.Context(), s, c)
	c.Close()
	if err := finished(t, result); err != nil {
		t.Errorf("drain: %v", err)
	}
	if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("the silent proxy is still connected")
	}
}

// Limits hold for the client, not for the proxy.
func TestLimitsBehindAProxy(t *testing.T) {
	s := newServer(t, listen.Limits{PerClient: 1, Proxies: proxies}, logs.Discard())
	enter := func(client string) string {
		c := s.dial(t, "127.0.0.9")
		io.WriteString(c, "PROXY TCP4 "+client+" 127.0.0.1 4000 25\r\n")
		select {
		case <-s.accepted:
			return ""
		case text := <-heard(c):
			return text
		}
	}
	for _, test := range []struct{ client, hears string }{{"192.0.2.1", ""}, {"192.0.2.2", ""}, {"192.0.2.1", busy}} {
		if got := enter(test.client); got != test.hears {
			t.Errorf("%s heard %q", test.client, got)
		}
	}
}

// heard yields all that is heard until the connection ends.
func heard(c io.Reader) <-chan string {
	all := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(c)
		all <- string(text)
	}()
	return all
}

// A panic ends one connection and is logged.
func TestPanicEndsOneConnection(t *testing.T) {
	var log logs.Recorder
	g := listen.NewGroup("smtp", busy, listen.Limits{}, slog.New(slog.NewTextHandler(&log, nil)))
	l, err := listen.TCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.Serve(l, func(*listen.Conn) { panic("at the disco") }) }()
	s := &server{Group: g, addr: l.Addr().String()}
	for range 2 {
		if text, err := io.ReadAll(s.dial(t, "127.0.0.1")); len(text) > 0 || err != nil {
			t.Errorf("heard %q, %v", text, err)
		}
	}
	if err := g.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if err := finished(t, served); err != nil {
		t.Error(err)
	}
	if g.Wait(); strings.Count(log.String(), "at the disco") != 2 {
		t.Errorf("log: %s", log.String())
	}
}
