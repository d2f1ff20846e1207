package proof

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSoak runs senders, fetchers, commands and SIGHUP for a long time. Nothing may grow
// with time: memory, goroutines, threads, descriptors, the write-ahead log, and the
// database, whose free pages must be used again.
func TestSoak(t *testing.T) {
	t.Parallel()
	seconds := scale(t, "PROOF_SOAK", 6)
	r := dice(t)
	boxes := []string{"one", "two", "three", "four"}
	s := newServer(t, filepath.Join(t.TempDir(), "data"), "storage: {min_free: 64MiB}")
	if seconds >= longSoak {
		s.env = nil // memory is managed as in production
	}
	s.populate(noLimit, append(boxes, limited)...)
	l := newLedger(t, boxes...)
	s.start()
	idle := s.measure()
	load := newTraffic(s, l, boxes, "")
	load.admin = newAdministrator(t, s, l, 0)
	load.start(r, 3, 3)

	var course []measures
	mostUsed := 0
	every := max(200*time.Millisecond, time.Duration(seconds)*time.Second/600)
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end) && !t.Failed(); {
		time.Sleep(every)
		m := s.measure()
		course = append(course, m)
		mostUsed = max(mostUsed, m["used"])
	}
	load.ending.Store(true)
	load.end()
	load.admin.audit()
	third := len(course) / 3
	middle, last := typical(course[third:2*third]), typical(course[2*third:])
	t.Logf("%d samples; idle %v; second third %v; last third %v", len(course), idle, middle, last)
	for name, now := range last {
		allowed := middle[name]*5/4 + slack[name]
		if seconds >= longSoak && ofProcess[name] {
			allowed = middle[name] + (middle[name]/4+slack[name])/4
		}
		if most, bounded := bounds[name]; bounded {
			allowed = most
		}
		if now > allowed {
			t.Errorf("%s grows: %d, then %d", name, middle[name], now)
		}
	}
	// A database does not shrink. Its free pages must be used again.
	if size := int(octets(s.data, "mailsrv.db") >> 10); size > mostUsed*5/4+slack["beside mail"] {
		t.Errorf("the database has %d KiB, of which never more than %d were in use", size, mostUsed)
	}
	await(t, 10*time.Second, "descriptors to be given back", func() bool {
		return s.measure()["descriptors"] <= idle["descriptors"]+slack["descriptors"]
	})
	s.check()
	l.audit(s, true)
	s.stop()
	n := l.total
	t.Logf("%d messages acknowledged, %d refused, %d deletions acknowledged", n.accepted, n.refused, n.deleted)
	if !l.moved() {
		t.Error("no message was acknowledged, or no deletion")
	}
}

// measures are what must not grow, by name. Memory and files are in KiB, "garbage" is the
// number of removed messages that were not freed yet.
type measures map[string]int

// slack is by how much each measure may differ between two times of the same load.
var slack = measures{"memory": 24 << 10, "goroutines": 16, "threads": 8, "descriptors": 16, "log": 0, "garbage": 0, "beside mail": 16 << 10}

// ofProcess are the measures that do not depend on how much work the machine gets done. In
// a run of at least longSoak seconds their slack is a quarter.
var ofProcess = map[string]bool{"memory": true, "goroutines": true, "threads": true, "descriptors": true}

const longSoak = 900

// bounds are for measures that may grow under constant load. The log keeps the size that
// it has needed, such as during a backup, up to journal_size_limit. 4,096 removed messages
// may wait to be freed, and those of a few QUITs.
var bounds = measures{"log": 64 << 10, "garbage": 6000}

// reloaded matches the log line of a reload.
var reloaded = regexp.MustCompile(`msg=reloaded .*goroutines=(\d+)`)

// goroutines makes the server reload, with another limit, and returns the number of
// goroutines that it then logs.
func (s *server) goroutines() int {
	s.t.Helper()
	s.limit ^= 1
	s.configure()
	before := s.reloads()
	s.process.Process.Signal(syscall.SIGHUP)
	await(s.t, startLimit, "the reload", func() bool { return len(s.reloads()) > len(before) })
	return s.reloads()[len(before)]
}

// reloads returns the numbers of goroutines that the reloads so far have logged.
func (s *server) reloads() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told
}

// measure measures the process and its files, and makes it reload. "used", which is not
// in slack, is the size of the database without free pages.
func (s *server) measure() measures {
	s.t.Helper()
	process := fmt.Sprintf("/proc/%d", s.process.Process.Pid)
	open, err := os.ReadDir(process + "/fd")
	s.must(err)
	m := measures{
		"descriptors": len(open),
		"goroutines":  s.goroutines(),
		"log":         int(octets(s.data, "mailsrv.db-wal") >> 10),
	}
	var used, content, garbage int
	s.ask(`SELECT (page_count - freelist_count) * page_size / 1024, (SELECT coalesce(sum(octets), 0) FROM body) / 1024,
    (SELECT count(*) FROM garbage)
FROM pragma_page_count, pragma_freelist_count, pragma_page_size`, &used, &content, &garbage)
	m["used"], m["garbage"], m["beside mail"] = used, garbage, used-content
	status, err := os.Open(process + "/status")
	s.must(err)
	defer status.Close()
	for lines := bufio.NewScanner(status); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimSpace(strings.TrimSuffix(value, "kB"))
		switch name {
		case "RssAnon":
			m["memory"], err = strconv.Atoi(value)
		case "Threads":
			m["threads"], err = strconv.Atoi(value)
		}
		s.must(err)
	}
	return m
}

// ask reads one row of the database.
func (s *server) ask(query string, into ...any) {
	s.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(s.data, "mailsrv.db")+"?mode=ro&_busy_timeout=5000")
	s.must(err)
	defer db.Close()
	s.must(db.QueryRow(query).Scan(into...))
}

// typical returns the median of each measure.
func typical(all []measures) measures {
	middle := measures{}
	for name := range slack {
		var values []int
		for _, m := range all {
			values = append(values, m[name])
		}
		if slices.Sort(values); len(values) > 0 {
			middle[name] = values[len(values)/2]
		}
	}
	return middle
}
