package peers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"mailsrv/bench/load"
)

// Plan is what a server is started with.
type Plan struct {
	Dir       string // empty, on the disk that is measured
	Programs  string // where mailsrv and discard are
	Mailboxes []load.Mailbox
	Hashes    []string // of the mailboxes' passwords
	CertFile  string
	KeyFile   string
}

// Domain is the domain of all mailboxes.
const Domain = "bench.test"

// Hostname is the name that servers greet with.
const Hostname = "mail.bench.test"

// Server is a running server.
type Server struct {
	Name string
	SMTP string // address; empty: it has none
	LMTP string
	POP3 string

	leaders []*exec.Cmd
	ended   []chan struct{} // for each leader
	outputs []string        // where the leaders' messages go
	stored  *counter        // of deliveries in the log; nil: what is accepted is stored
}

// Stop ends the server and waits for it.
func (s *Server) Stop() {
	for i := len(s.leaders) - 1; i >= 0; i-- {
		s.leaders[i].Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended[i]:
		case <-time.After(20 * time.Second):
			s.leaders[i].Process.Kill()
			<-s.ended[i]
		}
	}
	s.waitForChildren()
}

// waitForChildren waits a while for the leaders' children, which end by themselves.
func (s *Server) waitForChildren() {
	for range 100 {
		alive := false
		for _, leader := range s.leaders {
			// Both masters lead a process group.
			alive = alive || syscall.Kill(-leader.Process.Pid, 0) == nil
		}
		if !alive {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, leader := range s.leaders {
		syscall.Kill(-leader.Process.Pid, syscall.SIGKILL)
	}
}

// launch starts a process of the server. What it prints goes to a file beside
// its data.
func (s *Server) launch(dir string, command *exec.Cmd) error {
	path := filepath.Join(dir, filepath.Base(command.Path)+".log")
	output, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	// In its own process group it does not get this program's Ctrl-C. It ends when this
	// program does.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := command.Start(); err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	ended := make(chan struct{})
	go func() { command.Wait(); close(ended) }()
	s.leaders = append(s.leaders, command)
	s.ended = append(s.ended, ended)
	s.outputs = append(s.outputs, path)
	return nil
}

// awaitGreeting waits until each address sends a greeting.
func (s *Server) awaitGreeting(ctx context.Context, addresses ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, address := range addresses {
		for !greets(address) {
			select {
			case <-s.ended[len(s.ended)-1]:
				return s.failure(errors.New("it ended at once"))
			case <-ctx.Done():
				return s.failure(fmt.Errorf("no greeting from %s: %w", address, ctx.Err()))
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}

// failure adds the last output of the server to an error.
func (s *Server) failure(err error) error {
	s.Stop()
	for _, path := range s.outputs {
		text, _ := os.ReadFile(path)
		err = fmt.Errorf("%w\n%s", err, text[max(0, len(text)-2000):])
	}
	return fmt.Errorf("%s did not start: %w", s.Name, err)
}

func greets(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	_, err = bufio.NewReader(c).ReadString('\n')
	return err == nil
}

// Stored returns how many deliveries have reached maildrops since the start, or
// -1 if that is what was accepted.
func (s *Server) Stored() int {
	if s.stored == nil {
		return -1
	}
	return s.stored.count()
}

// AwaitStored waits until this number of deliveries have reached maildrops since the
// start of the server.
func (s *Server) AwaitStored(ctx context.Context, deliveries int) error {
	if s.stored == nil {
		return nil
	}
	before, quiet := -1, time.Now()
	for {
		n := s.stored.count()
		switch {
		case n >= deliveries:
			return nil
		case n > before:
			before, quiet = n, time.Now()
		case time.Since(quiet) > time.Minute:
			return fmt.Errorf("%s: %d of %d deliveries reached the maildrops, and none for a minute", s.Name, n, deliveries)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// freeAddresses returns addresses that nobody listens on.
func freeAddresses(n int) (addresses []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // after all are open, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

func port(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
