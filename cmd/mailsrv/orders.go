package main

import (
	"os"
	"os/signal"
	"syscall"
)

// orders are the signals that tell a server what to do. None is lost, however many come
// while it is busy. Go drops signals for a full channel, so those to stop have a channel of
// their own, with room for the two that make a difference. One SIGHUP that waits stands for
// all that come meanwhile, since its reload has not begun.
type orders struct {
	stop   chan os.Signal // SIGTERM or SIGINT
	hangUp chan os.Signal // SIGHUP
}

// newOrders catches the process's signals until close is called.
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
