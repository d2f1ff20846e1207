package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"mailsrv/internal/backend"
)

// stopBetween makes Ctrl-Z stop a command only between two transactions of its store. A
// command stopped within one would keep the lock, and the server could store no mail. end
// restores the effect of Ctrl-Z.
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

// stopSelf stops the process until SIGCONT, as the kernel does at Ctrl-Z. It does not stop
// if no shell of the same session could let it go on.
func stopSelf() {
	own, _ := session(0)
	if parent, err := session(os.Getppid()); err == 0 && parent == own {
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}

// session returns the session id of a process; 0: of this one (getsid).
func session(process int) (id uintptr, err syscall.Errno) {
	id, _, err = syscall.RawSyscall(syscall.SYS_GETSID, uintptr(process), 0, 0)
	return id, err
}
