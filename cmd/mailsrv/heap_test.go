package main

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// What lives is small, so the collector waits for the floor; with much alive it
// goes back to Go's own rule.
func TestHeapFloor(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	h := &heap{floor: 1 << 40}
	defer func() { h.stopped = true }()
	h.afterCollection(&collected{})
	if h.percent <= 100 {
		t.Errorf("little is alive: collection at %d percent", h.percent)
	}
	h.mu.Lock()
	h.floor = 1
	h.mu.Unlock()
	for wait := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		h.mu.Lock()
		percent := h.percent
		h.mu.Unlock()
		if percent == 100 {
			return
		}
		if time.Now().After(wait) {
			t.Fatalf("much is alive: collection at %d percent", percent)
		}
	}
}

// The heap grows to the floor and not beyond.
func TestHeapFloorIsTheGoal(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	const floor = 256 << 20
	h := &heap{floor: floor}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.stopped = true
	}()
	runtime.GC()
	h.afterCollection(&collected{})
	if goal := read("/gc/heap/goal:bytes"); goal < floor/2 || goal > floor*65/64 {
		t.Errorf("the heap grows to %d octets", goal)
	}
}

// A burst leaves nothing behind once the server is at rest.
func TestHeapAtRest(t *testing.T) {
	h := &heap{}
	h.look()
	burst := make([]byte, 64<<20)
	for i := range burst {
		burst[i] = 1
	}
	runtime.KeepAlive(burst)
	runtime.GC() // so that no other test's garbage is at work
	if h.look() {
		t.Error("the server allocates: it is not at rest")
	}
	for wait := time.Now().Add(10 * time.Second); !h.look(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(wait) {
			t.Fatal("nothing was given back")
		}
	}
	if free := read("/memory/classes/heap/free:bytes"); free > 16<<20 {
		t.Errorf("%d octets are still held", free)
	}
}
