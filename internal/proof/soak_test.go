package proof

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsrv/quota"
)

// TestSoak lets senders, fetchers, the command line and SIGHUP go on for long,
// and asks that nothing grows with time: memory, threads, descriptors, the
// write-ahead log, the database, whose free pages are used again.
func TestSoak(t *testing.T) {
	t.Parallel()
	seconds := scale(t, "PROOF_SOAK", 6)
	r := dice(t)
	boxes := []string{"one", "two", "three", "four"}
	s := newServer(t, filepath.Join(t.TempDir(), "data"), "storage: {min_free: 64MiB}")
	s.populate(quota.Limit{}, append(boxes, limited)...)
	l := newLedger(t, boxes...)
	s.start()
	idle := s.measure()
	load := newTraffic(s, l, boxes, "")
	load.admin = newAdministrator(t, s, l)
	load.start(r, 3, 3)

	var course []measures
	every := max(200*time.Millisecond, time.Duration(seconds)*time.Second/600)
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end) && !t.Failed(); {
		time.Sleep(every)
		s.process.Process.Signal(syscall.SIGHUP)
		course = append(course, s.measure())
	}
	load.ending.Store(true)
	load.end()
	load.admin.audit()
	third := len(course) / 3
	middle, last := typical(course[third:2*third]), typical(course[2*third:])
	t.Logf("%d samples; idle %v; second third %v; last third %v", len(course), idle, middle, last)
	for name, now := range last {
		if allowed := middle[name]*5/4 + slack[name]; now > allowed {
			t.Errorf("%s grows: %d, then %d", name, middle[name], now)
		}
	}
	await(t, 10*time.Second, "descriptors to be given back", func() bool {
		return s.measure()["descriptors"] <= idle["descriptors"]+slack["descriptors"]
	})
	s.check()
	l.audit(s, true)
	s.stop()
	n := l.total
	t.Logf("%d messages acknowledged, %d refused, %d deletions acknowledged", n.accepted, n.refused, n.deleted)
}

// measures are what must not grow, by name; memory and files in KiB.
type measures map[string]int

// slack is by how much each may differ between two times of the same load.
var slack = measures{"memory": 24 << 10, "threads": 8, "descriptors": 16, "log": 8 << 10, "database": 16 << 10}

// measure looks at the process and its files.
func (s *server) measure() measures {
	s.t.Helper()
	process := fmt.Sprintf("/proc/%d", s.process.Process.Pid)
	open, err := os.ReadDir(process + "/fd")
	s.must(err)
	m := measures{
		"descriptors": len(open),
		"log":         int(octets(s.data, "mailsrv.db-wal") >> 10),
		"database":    int(octets(s.data, "mailsrv.db") >> 10),
	}
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

// typical is the median of each measure.
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
