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

// tick is the unit of times in /proc, USER_HZ, which is 100 on all Linux systems.
const tick = time.Second / 100

// CPU returns the processor time, user and system, that the server's processes have used so
// far. It includes processes that have ended and that their parents have waited for. It
// does not include work of the kernel's own threads for the server, such as for the disk.
func (s *Server) CPU() time.Duration {
	var ticks int64
	for _, p := range s.processes() {
		for _, field := range p.times {
			ticks += field
		}
	}
	return time.Duration(ticks) * tick
}

// Memory returns the server's memory in octets (PSS): what its processes have for
// themselves, and their part of what they share.
func (s *Server) Memory() (octets int64) {
	for _, p := range s.processes() {
		octets += field(p.pid, "smaps_rollup", "Pss:")
	}
	return octets
}

// Anonymous returns the octets of the server's memory that are not of files.
func (s *Server) Anonymous() (octets int64) {
	for _, p := range s.processes() {
		octets += field(p.pid, "status", "RssAnon:")
	}
	return octets
}

// Processes returns the number of the server's processes.
func (s *Server) Processes() int { return len(s.processes()) }

// Leader returns the process id of the server's first process.
func (s *Server) Leader() int { return s.leaders[0].Process.Pid }

// process is a line of /proc/*/stat.
type process struct {
	pid, parent int
	times       [4]int64 // utime, stime, cutime, cstime
}

// processes returns the leaders and their descendants.
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
	// The name, in parentheses, may have any characters.
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
