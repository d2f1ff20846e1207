package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"mailsrv/internal/backend"
)

// stopBetween has Ctrl-Z stop a command between two transactions of its store: stopped
// within one it would keep the lock, and the server could store no mail. end leaves
// Ctrl-Z as it was.
func stopBetween(store backend.Store, stop func()) (end func()) {
	s, ok := store.(backend.Stopper)
	if !ok || signal.Ignored(syscall.SIGTSTP) {
		return func() {}
	}
	orders := make(chan os.Signal, 1)
	signal.Notify(orders, syscall.SIGTSTP)
	var running sync.WaitGroup
	running.Go(func() {
		for range orders {
			s.Between(stop)
		}
	})
	return func() {
		signal.Stop(orders)
		close(orders)
		running.Wait()
	}
}

// stopSelf stops the process until SIGCONT, as the kernel does at Ctrl-Z: not where no
// shell of the same session could let it go on.
func stopSelf() {
	own, _ := session(0)
	if parent, err := session(os.Getppid()); err == 0 && parent == own {
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}

// session is the session of a process, 0: this one's (getsid).
func session(process int) (id uintptr, err syscall.Errno) {
	id, _, err = syscall.RawSyscall(syscall.SYS_GETSID, uintptr(process), 0, 0)
	return id, err
}
