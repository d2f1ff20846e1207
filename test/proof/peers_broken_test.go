package proof

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestBrokenOff breaks large messages off again and again, from two connections, while a
// good peer sends and fetches. Database and log may grow by 1.1 times what may be staged
// and the bound of the log, and the good peer is served. The short form takes some seconds
// and small messages.
func TestBrokenOff(t *testing.T) {
	t.Parallel()
	staged, message, lasts := int64(16<<20), 6<<20, 4*time.Second
	if scale(t, "PROOF_PEERS", 0) > 0 {
		staged, message, lasts = 100<<20, 45<<20, 30*time.Second
	}
	s := newServer(t, filepath.Join(t.TempDir(), "data"))
	s.text = "data_dir: " + s.data + "\n" + fmt.Sprintf(`hostname: mail.%s
smtp: {listen: ["127.0.0.1:0"], max_message_size: %dMiB, max_staged: %dMiB, max_recipients: %%d, trusted_networks: []}
pop3: {listen: ["127.0.0.1:0"], listen_tls: []}
`, domain, message>>20, staged>>20)
	s.configure()
	s.populate(noLimit, "one", badLocal)
	l := newLedger(t, "one")
	s.start()
	p := &badPeers{t: t, s: s, l: l, r: dice(t), stop: make(chan struct{})}
	size := func() int64 { return octets(s.data, "mailsrv.db") + octets(s.data, "mailsrv.db-wal") }
	const log = 32 << 20 // 4,000 pages of 8 KiB
	most := size() + staged*11/10 + log
	good := newTraffic(s, l, []string{"one"}, "")
	good.start(p.r, 1, 1)
	var breakers sync.WaitGroup
	for i := range 2 {
		breakers.Go(func() {
			for begun := time.Now(); time.Since(begun) < lasts; {
				c := p.dial(fmt.Sprintf("127.0.8.%d", i+1), s.smtp)
				if c == nil {
					return
				}
				io.WriteString(c, smtpHead+fmt.Sprintf("BDAT %d\r\n", message))
				c.SetWriteDeadline(time.Now().Add(patience))
				c.Write(nonsense(message - 1<<10))
				c.Close()
				p.count("broken off")
			}
		})
	}
	over := make(chan struct{})
	go func() { breakers.Wait(); close(over) }()
	held := size()
	for ended := false; !ended; time.Sleep(100 * time.Millisecond) {
		select {
		case <-over:
			ended = true
		default:
		}
		var mail int64 // which is no growth of theirs
		s.ask("SELECT coalesce(sum(all_octets), 0) FROM tally", &mail)
		held = max(held, size()-2*mail) // once in the log, once in the database
		if held > most {
			t.Fatalf("database and log have %d MiB, of at most %d", held>>20, most>>20)
		}
	}
	good.ending.Store(true)
	good.end()
	p.report()
	t.Logf("database and log had at most %d MiB, and may have %d", held>>20, most>>20)
	await(t, startLimit, "all to be given up", func() bool { return s.transfers() == 0 })
	if n := l.total; n.accepted == 0 || n.refused > 0 || n.fetched == 0 {
		t.Errorf("the good peer: %+v", n)
	}
	s.check()
	l.audit(s, true)
	s.stop()
}
