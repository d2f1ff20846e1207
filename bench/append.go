package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// appends measure the disk without any server: 4 KiB are written to the end of a file and
// synced, one at a time or sixteen in one sync, to a file that grows or to one that was
// written before.
var appends = map[string]func(dir string, turn time.Duration) (sample, error){
	appendOne:     func(dir string, turn time.Duration) (sample, error) { return appendSynced(dir, turn, 1, false) },
	appendLaidOut: func(dir string, turn time.Duration) (sample, error) { return appendSynced(dir, turn, 1, true) },
	appendSixteen: func(dir string, turn time.Duration) (sample, error) { return appendSynced(dir, turn, 16, false) },
}

const (
	appendOne     = "append + fdatasync"
	appendLaidOut = "the same, file laid out"
	appendSixteen = "append + fdatasync of 16"
)

// appendSynced writes batches of 4 KiB for the time of a turn. The rate is that of blocks
// of 4 KiB, the latency that of one sync.
func appendSynced(dir string, turn time.Duration, batch int, laidOut bool) (sample, error) {
	path := filepath.Join(dir, "append")
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer os.Remove(path)
	defer file.Close()
	block := slices.Repeat([]byte("0123456789abcdef"), batch*256)
	end := int64(math.MaxInt64)
	if laidOut {
		end = 64 << 20
		for at := int64(0); at < end; at += int64(len(block)) { // written, not only reserved
			if _, err := file.WriteAt(block, at); err != nil {
				return nil, err
			}
		}
		if err := file.Sync(); err != nil {
			return nil, err
		}
	}
	var latencies []time.Duration
	began, before := time.Now(), ownCPU()
	at := int64(0)
	for last := began; last.Sub(began) < turn; at = (at + int64(len(block))) % end {
		if _, err := file.WriteAt(block, at); err != nil {
			return nil, err
		}
		if err := unix.Fdatasync(int(file.Fd())); err != nil {
			return nil, fmt.Errorf("fdatasync: %w", err)
		}
		now := time.Now()
		latencies = append(latencies, now.Sub(last))
		last = now
	}
	elapsed, used := time.Since(began), ownCPU()-before
	n := len(latencies)
	slices.Sort(latencies)
	return sample{
		rate: float64(n*batch) / elapsed.Seconds(),
		cpu:  milliseconds(used) / float64(n*batch),
		p50:  milliseconds(latencies[n/2]),
		p95:  milliseconds(latencies[n*95/100]),
		p99:  milliseconds(latencies[n*99/100]),
	}, nil
}
