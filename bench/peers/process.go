package peers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc, USER_HZ, which is 100 wherever Linux is.
const tick = time.Second / 100

// CPU is the processor time, user and system, that the server's processes have
// used so far: of those that live, and of those that ended and were waited for
// by their parents, which carry it on. Work that the kernel does for the server
// in threads of its own, as for the disk, is in nobody's account.
func (s *Server) CPU() time.Duration {
	var ticks int64
	for _, p := range s.processes() {
		for _, field := range p.times {
			ticks += field
		}
	}
	return time.Duration(ticks) * tick
}

// Memory is the server's share of the machine's memory in octets: what its
// processes hold alone, and their part of what they share.
func (s *Server) Memory() (octets int64) {
	for _, p := range s.processes() {
		octets += field(p.pid, "smaps_rollup", "Pss:")
	}
	return octets
}

// Anonymous is the memory of the server's processes that is no file's, in
// octets.
func (s *Server) Anonymous() (octets int64) {
	for _, p := range s.processes() {
		octets += field(p.pid, "status", "RssAnon:")
	}
	return octets
}

// Processes is how many processes the server has.
func (s *Server) Processes() int { return len(s.processes()) }

// Leader is the process id of the server's first process.
func (s *Server) Leader() int { return s.leaders[0].Process.Pid }

// process is a line of /proc/*/stat.
type process struct {
	pid, parent int
	times       [4]int64 // utime, stime, cutime, cstime
}

// processes lists the leaders and what descends from them.
func (s *Server) processes() (ours []process) {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[int][]process{}
	var queue []process
	for _, file := range files {
		p, err := readStat(file)
		if err != nil {
			continue // it has ended
		}
		children[p.parent] = append(children[p.parent], p)
		for _, leader := range s.leaders {
			if leader.Process.Pid == p.pid {
				queue = append(queue, p)
			}
		}
	}
	for len(queue) > 0 {
		p := queue[0]
		ours = append(ours, p)
		queue = append(queue[1:], children[p.pid]...)
	}
	return ours
}

func readStat(file string) (p process, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return p, err
	}
	// The name, in parentheses, may hold anything.
	name := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[name+1:]))
	if len(fields) < 15 {
		return p, fmt.Errorf("%s: too short", file)
	}
	p.pid, _ = strconv.Atoi(filepath.Base(filepath.Dir(file)))
	p.parent, _ = strconv.Atoi(fields[1])
	for i := range p.times {
		p.times[i], _ = strconv.ParseInt(fields[11+i], 10, 64)
	}
	return p, nil
}

// field reads a field in KiB of a file of /proc/PID, in octets; 0 if the
// process has ended.
func field(pid int, file, name string) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}
