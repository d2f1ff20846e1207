package proof

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailsrv/test/built"
)

// badLocal is the mailbox that the bad peers write to.
const badLocal = "bad"

// Maildrops for one bad peer each, with a message longer than any buffer.
const (
	trickleLocal = "trickle"
	silentLocal  = "silent"
	deafLocal    = "deaf"
	sipLocal     = "sip"
)

// maxStaged is smtp.max_staged in octets: enough for every bad peer.
const maxStaged = 12 << 20

// badConfig has short timeouts, so that they end within the test, and little memory: one
// peer alone asks for nearly all of it.
const badConfig = `hostname: mail.` + domain + `
smtp: {listen: ["127.0.0.1:0"], max_connections: 400, max_connections_per_client: 60, command_timeout: 2s, data_idle_timeout: 2s,
  max_message_size: 12MiB, max_staged: 12MiB, max_recipients: %d, trusted_networks: []}
pop3: {listen: ["127.0.0.1:0"], listen_tls: [], max_connections: 400, max_connections_per_client: 60, idle_timeout: 2s}
memory: {buffers: 8MiB}
`

// TestBadPeers runs bad peers of every kind at once, each from its own address, while a
// good peer sends and fetches. The good one must be served throughout. When the bad ones
// are gone, memory, threads, descriptors and staged content must be as before.
func TestBadPeers(t *testing.T) {
	t.Parallel()
	rounds := scale(t, "PROOF_PEERS", 1)
	s := newServer(t, filepath.Join(t.TempDir(), "data"))
	s.text = "data_dir: " + s.data + "\n" + badConfig
	s.configure()
	large := []string{trickleLocal, silentLocal, deafLocal, sipLocal}
	s.populate(noLimit, append(large, "one", badLocal)...)
	l := newLedger(t, "one")
	s.start()
	m := &message{content: nonsense(8 << 20)}
	c, err := dialSMTP(s.smtp, false)
	s.must(err)
	_, _, err = c.envelope(0, large...)
	s.must(err)
	_, err = c.content(m, manner{chunks: true}, hooks{})
	s.must(err)
	c.close()
	for range 2 { // until the page caches are full
		s.stageAll()
	}
	idle := s.measure()

	for range rounds {
		p := &badPeers{t: t, s: s, l: l, r: dice(t), since: octets(s.log.Name()), stop: make(chan struct{})}
		good := newTraffic(s, l, []string{"one"}, "")
		good.start(p.r, 1, 1)
		p.run()
		good.ending.Store(true)
		good.end()
		p.report()
		if !within(time.Minute, func() bool { return s.isBackTo(idle) }) {
			t.Fatalf("idle %v, a minute after the bad peers %v, %d messages staged", idle, s.measure(), s.transfers())
		}
		s.stageAll()
	}
	t.Logf("idle %v, afterwards %v", idle, s.measure())
	if n := l.total; n.accepted == 0 || n.refused > 0 || n.fetched == 0 {
		t.Errorf("the good peer: %+v", n)
	}
	s.check()
	l.audit(s, true)
	s.stop()
}

// nonsense returns about this number of octets of content.
func nonsense(octets int) []byte { return bytes.Repeat([]byte("a line of no use\r\n"), octets/18) }

// stageAll stages nearly as much as may be staged, which fails if anything else is staged,
// and then aborts.
func (s *server) stageAll() {
	s.t.Helper()
	all := nonsense(maxStaged - 512<<10)
	all = append(fmt.Appendf(nil, "BDAT %d\r\n", len(all)), all...)
	c, err := dialSMTP(s.smtp, false)
	s.must(err)
	_, _, err = c.envelope(0, badLocal)
	s.must(err)
	s.must(c.write(all))
	if r, err := c.reply(); err != nil || r.code != 250 {
		s.t.Fatalf("nearly all that may be staged: %v, %v", r, err)
	}
	c.close()
	await(s.t, startLimit, "staged content to be given up", func() bool { return s.transfers() == 0 })
}

// transfers returns how many unfinished messages are staged.
func (s *server) transfers() int {
	s.t.Helper()
	var n int
	s.ask("SELECT count(*) FROM transfer", &n)
	return n
}

// isBackTo reports whether the server has no unfinished transfer and uses no more than it
// did when idle, but for the slack of heap and threads.
func (s *server) isBackTo(idle measures) bool {
	now, memory := s.measure(), slack["memory"]
	if built.Race {
		memory *= 6 // the race detector keeps memory of goroutines and buffers that are gone
	}
	var garbage int
	s.ask("SELECT count(*) FROM garbage", &garbage)
	return s.transfers()+garbage == 0 && now["goroutines"] <= idle["goroutines"]+slack["goroutines"] &&
		now["descriptors"] <= idle["descriptors"]+slack["descriptors"] &&
		now["threads"] <= idle["threads"]+2*slack["threads"] && now["memory"] <= idle["memory"]+memory
}

// badPeers is one run of all bad peers.
type badPeers struct {
	t     *testing.T
	s     *server
	l     *ledger // of the good one
	r     *rand.Rand
	since int64         // offset in the log at which they begin
	stop  chan struct{} // closed when those that are left have to hang up

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

// badPeer is a peer that keeps the server waiting, from its own address.
type badPeer struct {
	from, server string
	head         string // what it sends first
	end          string // how the server ends it
}

// How the server ends a peer that keeps it waiting: with a last reply (RFC 5321 section
// 3.8), or with none (RFC 1939 section 3) and a line in the log.
const (
	noCommand    = "421 4.4.2 No command for too long"
	noContent    = "421 4.4.2 No content for too long"
	saysNothing  = `reason="idle timeout"`
	readsNothing = `reason="client does not read"`
)

const smtpHead = "EHLO bad.example.org\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<" + badLocal + "@" + domain + ">\r\n"

func login(local string) string {
	return "USER " + address(local) + "\r\nPASS " + password + "\r\n"
}

// of is the end in the log of a session on a maildrop.
func of(local, end string) string { return "mailbox=" + address(local) + " " + end }

// waiting returns peers in each state of both protocols.
func (p *badPeers) waiting(network, local string) []badPeer {
	long := string(nonsense(1<<20 + p.r.IntN(512<<10)))
	all := []badPeer{
		{head: "", end: noCommand},
		{head: "EHLO bad.example.org\r\n", end: noCommand},
		{head: smtpHead, end: noCommand},
		{head: smtpHead + "DATA\r\n", end: noContent},
		{head: smtpHead + "DATA\r\nSubject: x", end: noContent},
		{head: smtpHead + "DATA\r\n" + long, end: noContent},
		{head: smtpHead + "BDAT 900000\r\nx", end: noContent},
		{head: smtpHead + "BDAT 9000000\r\n" + long, end: noContent},
		{head: smtpHead + fmt.Sprintf("BDAT %d\r\n", len(long)) + long, end: noContent},
		{head: "", end: saysNothing},
		{head: "USER x\r\n", end: saysNothing},
		{head: "AUTH PLAIN\r\n", end: saysNothing},
		{head: login(local), end: of(local, saysNothing)},
	}
	for i := range all {
		b := &all[i]
		b.from, b.server = network+strconv.Itoa(i+1), p.s.smtp
		if strings.HasSuffix(b.end, saysNothing) {
			b.server = p.s.pop3
		}
	}
	return all
}

// run runs the peers until the server has ended those that it must end, and all others
// have hung up.
func (p *badPeers) run() {
	var ended, all sync.WaitGroup
	trickling, silent := p.waiting("127.0.3.", trickleLocal), p.waiting("127.0.4.", silentLocal)
	reader := badPeer{"127.0.5.1", p.s.pop3, login(deafLocal), of(deafLocal, readsNothing)}
	// As many as one client may have ask for all of the memory, in large pieces and in small.
	for i := range 60 {
		octets := 200_000
		if i%2 == 1 {
			octets = 10
		}
		greedy := badPeer{from: "127.0.9.1", server: p.s.smtp, head: smtpHead + "BDAT 900000\r\n" + string(nonsense(octets))}
		if c := p.begin(greedy); c != nil {
			all.Go(func() { p.dribbleOn(c, greedy) })
		}
	}
	for _, b := range trickling {
		if b.end == noContent {
			all.Go(func() { p.dribble(b) })
		} else {
			ended.Go(func() { p.trickle(b) })
		}
	}
	for _, b := range silent {
		ended.Go(func() { p.silent(b) })
	}
	for i, again := range []string{"NOOP\r\n", "BDAT 0\r\n"} {
		ended.Go(func() {
			head := smtpHead + "BDAT 360000\r\n" + string(nonsense(360_000))
			p.nag(badPeer{fmt.Sprintf("127.0.8.%d", i+1), p.s.smtp, head, noContent}, again)
		})
	}
	all.Go(func() { p.sip(badPeer{from: "127.0.8.9", server: p.s.pop3, head: login(sipLocal) + "RETR 1\r\n"}) })
	ended.Go(func() { p.deaf(reader, "RETR 1\r\n") })
	ended.Go(func() { p.deaf(badPeer{from: "127.0.5.2", server: p.s.smtp}, "EHLO x\r\n") })
	all.Go(func() { p.handshake("127.0.6.1", p.s.smtp, "EHLO x\r\nSTARTTLS\r\n") })
	all.Go(func() { p.handshake("127.0.6.2", p.s.pop3, "STLS\r\n") })
	all.Go(func() { p.vanish(smtpHead + "DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\nQUIT\r\n") })
	all.Go(p.capabilities)
	all.Go(p.garbage)
	all.Go(p.pipeline)
	all.Go(func() { p.flood(p.s.smtp, "NOOP\r\n", "421 ") })
	all.Go(func() { p.flood(p.s.pop3, "CAPA\r\n", "-ERR") })
	// Two peers of dribble have sent enough to be staged, and go on.
	if !within(time.Minute, func() bool { return p.s.transfers() >= 2 }) {
		p.t.Error("no content was staged")
	}
	// Meanwhile the good one is served, though one network would hold all memory.
	before := p.l.figures()
	if !within(25*time.Second, func() bool {
		now := p.l.figures()
		return now.accepted >= before.accepted+3 && now.fetched >= before.fetched+3
	}) {
		p.t.Errorf("the good peer is not served: %+v, and then %+v", before, p.l.figures())
	}
	ended.Wait()
	for _, b := range slices.Concat(trickling, silent, []badPeer{reader}) {
		if b.server == p.s.pop3 && !within(startLimit, func() bool { return p.logged("client="+b.from+" ", b.end) }) {
			p.t.Errorf("the log does not say of %s %s", b.from, b.end)
		}
	}
	close(p.stop)
	all.Wait()
}

// logged reports whether a line of the log holds all parts.
func (p *badPeers) logged(parts ...string) bool {
	log, err := os.ReadFile(p.s.log.Name())
	if err != nil {
		p.t.Error(err)
	}
	for line := range strings.Lines(string(log[p.since:])) {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) }) {
			return true
		}
	}
	return false
}

// dial connects from an address. A connection over a limit of the server is made too:
// the server refuses it by a reply.
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

// begin connects and sends the head.
func (p *badPeers) begin(b badPeer) *net.TCPConn {
	c := p.dial(b.from, b.server)
	if c != nil {
		io.WriteString(c, b.head)
	}
	return c
}

// drip sends what again and again, with pauses, until that fails.
func drip(c net.Conn, what string) {
	for _, err := io.WriteString(c, what); err == nil; _, err = io.WriteString(c, what) {
		time.Sleep(100 * time.Millisecond)
	}
}

// trickle sends a command that never ends.
func (p *badPeers) trickle(b badPeer) {
	if c := p.begin(b); c != nil {
		defer c.Close()
		go drip(c, "x")
		p.endure(c, b)
		p.count("trickle ended by the server")
	}
}

// dribble sends content slowly, as is allowed for the first ten minutes, and then closes
// or resets the connection.
func (p *badPeers) dribble(b badPeer) {
	if c := p.begin(b); c != nil {
		p.dribbleOn(c, b)
	}
}

func (p *badPeers) dribbleOn(c *net.TCPConn, b badPeer) {
	defer c.Close()
	go drip(c, "x")
	<-p.stop
	if len(b.head)%2 == 0 {
		c.SetLinger(0) // RST
	}
	p.count("dribbled")
}

// nag says something between two chunks, again and again, until the server ends it.
func (p *badPeers) nag(b badPeer, again string) {
	if c := p.begin(b); c != nil {
		defer c.Close()
		go drip(c, again)
		p.endure(c, b)
		p.count("nag between chunks ended by the server")
	}
}

// sip takes an octet now and then of what it asked for, which may be as slow for ten
// minutes.
func (p *badPeers) sip(b badPeer) {
	c := p.begin(b)
	if c == nil {
		return
	}
	defer c.Close()
	for octet := make([]byte, 1); ; time.Sleep(100 * time.Millisecond) {
		select {
		case <-p.stop:
			p.count("sipped")
			return
		default:
		}
		if _, err := c.Read(octet); err != nil {
			p.t.Errorf("one that reads slowly was ended before its time: %v", err)
			return
		}
	}
}

// silent sends the head and then nothing.
func (p *badPeers) silent(b badPeer) {
	if c := p.begin(b); c != nil {
		defer c.Close()
		p.endure(c, b)
		p.count("silent one ended by the server")
	}
}

// endure waits until the server ends the connection.
func (p *badPeers) endure(c net.Conn, b badPeer) {
	said, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) || b.server == p.s.smtp && !strings.Contains(string(said), b.end) {
		p.t.Errorf("%s, which began with %.80q, was not ended with %q: %v %q", b.from, b.head, b.end, err, said)
	}
}

// deaf sends commands and reads no replies, until the server ends the connection.
func (p *badPeers) deaf(b badPeer, again string) {
	c := p.begin(b)
	if c == nil {
		return
	}
	defer c.Close()
	many := strings.Repeat(again, 1000)
	var err error
	for err == nil {
		_, err = io.WriteString(c, many)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Errorf("%s reads no answer to %q and was not ended", b.from, again)
	}
	p.count("deaf one ended by the server")
}

// handshake sends the head, and nothing in the TLS handshake that follows.
func (p *badPeers) handshake(from, server, head string) {
	if c := p.begin(badPeer{from: from, server: server, head: head}); c != nil {
		defer c.Close()
		<-p.stop
		p.count("handshake that never came")
	}
}

// vanish ends a connection after each octet of a session, by a close and by a reset.
func (p *badPeers) vanish(whole string) {
	for n := range len(whole) {
		c := p.dial("127.0.7.1", p.s.smtp)
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

// garbage sends random octets until the server ends the connection.
func (p *badPeers) garbage() {
	r := fork(p.r)
	for i := range 40 {
		server := []string{p.s.smtp, p.s.pop3}[i%2]
		c := p.dial("127.0.7.2", server)
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

// pipeline sends 100,000 commands before it reads a reply, and must get all replies.
func (p *badPeers) pipeline() {
	const n = 100_000
	for server, ok := range map[string]string{p.s.smtp: "250 ", p.s.pop3: "-ERR"} {
		c := p.dial("127.0.7.3", server)
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

// flood opens more connections than one client may have, and expects that the surplus is
// refused. It sends a command on the others now and then, so that they stay open.
func (p *badPeers) flood(server, awake, refusal string) {
	var open []*net.TCPConn
	for range 100 {
		c := p.dial("127.0.7.4", server)
		if c == nil {
			return
		}
		defer c.Close()
		go drip(c, awake)
		open = append(open, c)
	}
	refused := 0
	for _, c := range open {
		if line, _ := bufio.NewReader(c).ReadString('\n'); strings.HasPrefix(line, refusal) {
			refused++
		}
	}
	if refused != 40 {
		p.t.Errorf("of a flood of 100 connections, where 60 are allowed, %d heard %s", refused, refusal)
	}
	p.count("flood")
}
