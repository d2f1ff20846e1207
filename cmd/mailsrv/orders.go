package main

import (
	"os"
	"os/signal"
	"syscall"
)

// orders are the signals that tell a server what to do. None is lost, however many came
// while it was busy: signals that find a full channel are dropped, so those to stop have
// one of their own, with room for the two that make a difference; and one SIGHUP that
// waits stands for all that came meanwhile, since the reload is still to begin.
type orders struct {
	stop   chan os.Signal // SIGTERM or SIGINT
	hangUp chan os.Signal // SIGHUP
}

// newOrders takes the process's signals, until close.
func newOrders() orders {
	o := orders{stop: make(chan os.Signal, 2), hangUp: make(chan os.Signal, 1)}
	signal.Notify(o.stop, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(o.hangUp, syscall.SIGHUP)
	return o
}

func (o orders) close() {
	signal.Stop(o.stop)
	signal.Stop(o.hangUp)
}
