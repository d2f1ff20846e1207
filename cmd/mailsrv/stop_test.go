package main

import (
	"syscall"
	"testing"
	"time"

	"mailsrv/internal/backend"
)

// Ctrl-Z stops a command only where its store says that it may.
func TestStopBetweenTransactions(t *testing.T) {
	store, err := backend.Open(t.Context(), "", backend.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	busy, stopped := make(chan struct{}), make(chan struct{})
	go store.(backend.Stopper).Between(func() { // as in a transaction: one at a time
		close(busy)
		time.Sleep(20 * time.Millisecond)
	})
	<-busy
	end := stopBetween(store, func() { close(stopped) })
	defer end()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopped:
	case <-time.After(10 * time.Second):
		t.Error("Ctrl-Z does nothing")
	}
}
