package proof

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/quota"
)

const (
	badLocal   = "bad"   // whom the bad peers write to
	largeLocal = "large" // has a message that is longer than what any buffer holds
)

// badConfig has short times, so that what waits for them ends within the test.
const badConfig = `hostname: mail.` + domain + `
smtp: {listen: ["127.0.0.1:0"], max_connections: 400, max_connections_per_client: 60, command_timeout: 2s, data_idle_timeout: 2s, max_recipients: %d}
pop3: {listen: ["127.0.0.1:0"], listen_tls: [], max_connections: 400, max_connections_per_client: 60}
`

// TestBadPeers lets peers of every bad kind at a server at once, from addresses
// of their own, while a good one sends and fetches. The good one must be served
// throughout, and when the bad ones are gone, memory, threads, descriptors and
// staged content must be as before.
func TestBadPeers(t *testing.T) {
	t.Parallel()
	rounds := scale(t, "PROOF_PEERS", 1)
	s := newServer(t, filepath.Join(t.TempDir(), "data"))
	s.text = "data_dir: " + s.data + "\n" + badConfig
	s.configure()
	s.populate(quota.Limit{}, "one", badLocal, largeLocal)
	l := newLedger(t, "one")
	s.start()
	c, err := dialSMTP(s.smtp, false)
	s.must(err)
	_, _, err = c.envelope(0, largeLocal)
	s.must(err)
	_, err = c.content(&message{content: bytes.Repeat([]byte("a line of no use\r\n"), 1<<19)}, manner{chunks: true}, hooks{})
	s.must(err)
	c.close()
	idle := s.measure()

	for range rounds {
		p := &badPeers{t: t, s: s, r: dice(t), stop: make(chan struct{})}
		good := newTraffic(s, l, []string{"one"}, "")
		good.start(p.r, 1, 1)
		p.run()
		good.ending.Store(true)
		good.end()
		p.report()
		await(t, 20*time.Second, "the level of before", func() bool { return s.isBackTo(idle) })
	}
	t.Logf("idle %v, afterwards %v", idle, s.measure())
	if n := l.total; n.accepted == 0 || n.refused > 0 || n.fetched == 0 {
		t.Errorf("the good peer: %+v", n)
	}
	s.check()
	l.audit(s, true)
	s.stop()
}

// isBackTo reports whether the server takes no more than it took when idle, but
// for what a heap and its threads keep, and holds no unfinished transfer.
func (s *server) isBackTo(idle measures) bool {
	now := s.measure()
	var staged int
	s.ask("SELECT (SELECT count(*) FROM transfer) + (SELECT count(*) FROM doomed)", &staged)
	return staged == 0 && now["goroutines"] <= idle["goroutines"]+slack["goroutines"] &&
		now["descriptors"] <= idle["descriptors"]+slack["descriptors"] &&
		now["threads"] <= idle["threads"]+2*slack["threads"] && now["memory"] <= idle["memory"]+4*slack["memory"]
}

// badPeers is all of them at work.
type badPeers struct {
	t    *testing.T
	s    *server
	r    *rand.Rand
	stop chan struct{}

	mu    sync.Mutex
	tally map[string]int
}

func (p *badPeers) count(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tally == nil {
		p.tally = map[string]int{}
	}
	p.tally[what]++
}

func (p *badPeers) report() { p.t.Logf("bad peers: %v", p.tally) }

// run lets them work for some seconds, and ends when all have hung up.
func (p *badPeers) run() {
	var all sync.WaitGroup
	smtpHead := "EHLO bad.example.org\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<" + address(badLocal) + ">\r\n"
	login := "USER " + address(largeLocal) + "\r\nPASS " + password + "\r\n"
	states := map[string][]string{
		p.s.smtp: {"", "EHLO bad.example.org\r\n", smtpHead, smtpHead + "DATA\r\n", smtpHead + "DATA\r\nSubject: x", smtpHead + "BDAT 900000\r\nx"},
		p.s.pop3: {"", "USER x\r\n", "AUTH PLAIN\r\n", login},
	}
	for server, begun := range states {
		for i, head := range begun {
			from := fmt.Sprintf("127.0.3.%d", i+1)
			all.Go(func() { p.trickle(from, server, head) })
			all.Go(func() { p.silent(from, server, head) })
		}
	}
	all.Go(func() { p.silent("127.0.4.1", p.s.smtp, "EHLO x\r\nSTARTTLS\r\n") })
	all.Go(func() { p.silent("127.0.4.2", p.s.pop3, "STLS\r\n") })
	all.Go(func() { p.silent("127.0.4.3", p.s.pop3, login+strings.Repeat("RETR 1\r\n", 20)) })
	all.Go(func() { p.vanish(smtpHead + "DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n") })
	all.Go(p.garbage)
	all.Go(p.pipeline)
	all.Go(func() { p.flood(p.s.smtp) })
	all.Go(func() { p.flood(p.s.pop3) })
	time.Sleep(4 * time.Second)
	close(p.stop)
	all.Wait()
}

// dial connects from an address of its own. Whoever is over a limit of the
// server is connected all the same, and told.
func (p *badPeers) dial(from, server string) *net.TCPConn {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience}
	c, err := d.Dial("tcp", server)
	if err != nil {
		p.t.Error(err)
		return nil
	}
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// trickle sends an octet now and then.
func (p *badPeers) trickle(from, server, head string) {
	c := p.dial(from, server)
	if c == nil {
		return
	}
	defer c.Close()
	c.Write([]byte(head))
	for {
		select {
		case <-p.stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
		if _, err := c.Write([]byte("x")); err != nil {
			p.count("trickle ended by the server")
			return
		}
	}
}

// silent says its part and then neither reads nor writes.
func (p *badPeers) silent(from, server, head string) {
	c := p.dial(from, server)
	if c == nil {
		return
	}
	defer c.Close()
	c.Write([]byte(head))
	<-p.stop
	p.count("silent")
}

// vanish is gone after each octet of a transaction, with and without a word.
func (p *badPeers) vanish(whole string) {
	for n := range len(whole) {
		c := p.dial("127.0.5.1", p.s.smtp)
		if c == nil {
			return
		}
		io.WriteString(c, whole[:n])
		if n%2 == 0 {
			c.SetLinger(0) // RST
		}
		c.Close()
		p.count("vanished")
	}
}

// garbage sends octets without sense until the server has enough of it.
func (p *badPeers) garbage() {
	r := fork(p.r)
	for i := range 40 {
		server := []string{p.s.smtp, p.s.pop3}[i%2]
		c := p.dial("127.0.5.2", server)
		if c == nil {
			return
		}
		noise := make([]byte, r.IntN(256<<10))
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		go func() {
			c.Write(noise)
			c.CloseWrite()
		}()
		io.Copy(io.Discard, c)
		c.Close()
		p.count("garbage")
	}
}

// pipeline sends 100,000 commands before it reads a reply, and must get each.
func (p *badPeers) pipeline() {
	const n = 100_000
	for server, ok := range map[string]string{p.s.smtp: "250 ", p.s.pop3: "-ERR"} {
		c := p.dial("127.0.5.3", server)
		if c == nil {
			return
		}
		go func() {
			io.WriteString(c, strings.Repeat("NOOP\r\n", n)+"QUIT\r\n")
		}()
		time.Sleep(time.Second)
		replies := 0
		for in := bufio.NewScanner(c); in.Scan(); {
			if strings.HasPrefix(in.Text(), ok) {
				replies++
			}
		}
		c.Close()
		if server == p.s.smtp && replies != n {
			p.t.Errorf("%d of %d pipelined commands were answered", replies, n)
		}
		p.count("pipelined")
	}
}

// flood opens more connections than one client may have, and expects that those
// beyond are told so at once.
func (p *badPeers) flood(server string) {
	var open []*net.TCPConn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for range 100 {
		c := p.dial("127.0.5.4", server)
		if c == nil {
			return
		}
		open = append(open, c)
		line, _ := bufio.NewReader(c).ReadString('\n')
		if strings.HasPrefix(line, "421 ") || strings.HasPrefix(line, "-ERR") {
			p.count("told that it was too many")
		}
	}
	<-p.stop
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tally["told that it was too many"] < 40 {
		p.t.Errorf("%d of a flood of 100 connections were refused", p.tally["told that it was too many"])
	}
}
