package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// metric names a figure of a turn.
type metric string

// The metrics that most turns have.
const (
	rate     metric = "rate"     // operations a second; of mail, what reached maildrops
	accepted metric = "accepted" // messages accepted a second, where that differs
	cpu      metric = "cpu"      // ms of the server's processor time per operation
	own      metric = "own"      // ms of the generator's processor time per operation
	p50      metric = "p50"      // ms
	p95      metric = "p95"
	p99      metric = "p99"
	memory   metric = "memory" // MiB added
	octets   metric = "octets" // MB of messages a second
)

// sample is the figures of one turn, or the median of several.
type sample map[metric]float64

// median returns the median of each metric.
func median(all []sample) sample {
	values := map[metric][]float64{}
	for _, s := range all {
		for m, v := range s {
			values[m] = append(values[m], v)
		}
	}
	result := sample{}
	for m, v := range values {
		slices.Sort(v)
		result[m] = (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	return result
}

// contender is a server, or a way to use one, that does the work of a row.
type contender struct {
	name string
	turn func(ctx context.Context) (sample, error)
}

// outcome is the result of a row.
type outcome struct {
	contenders []string
	medians    map[string]sample
	claims     []claim
}

// of returns the median of a contender's metric.
func (o *outcome) of(contender string, m metric) float64 { return o.medians[contender][m] }

// claim adds a claim.
func (o *outcome) claim(c claim) { o.claims = append(o.claims, c) }

// contest runs the contenders in turn, for all rounds.
func (b *bench) contest(ctx context.Context, contenders ...contender) (*outcome, error) {
	o := &outcome{medians: map[string]sample{}}
	samples := map[string][]sample{}
	for round := range b.rounds {
		for _, c := range contenders {
			if err := b.settle(ctx); err != nil {
				return nil, err
			}
			b.turnName = fmt.Sprintf("%s-%d", b.row, round+1)
			s, err := c.turn(ctx)
			b.turnName = ""
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			fmt.Fprintf(os.Stderr, "  %d/%d %-18s %s\n", round+1, b.rounds, c.name, s)
			samples[c.name] = append(samples[c.name], s)
		}
	}
	for _, c := range contenders {
		o.contenders = append(o.contenders, c.name)
		o.medians[c.name] = median(samples[c.name])
	}
	return o, nil
}

// String returns the figures for the progress lines.
func (s sample) String() string {
	var words []string
	for m, v := range s {
		words = append(words, fmt.Sprintf("%s %.4g", m, v))
	}
	slices.Sort(words)
	return strings.Join(words, "  ")
}

// settle waits until all servers are idle and the disk is synced, so that work that one
// server puts off is not done in another's turn.
func (b *bench) settle(ctx context.Context) error {
	dir, err := os.Open(b.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", b.dir, err)
	}
	const (
		step  = 200 * time.Millisecond
		quiet = 10 * time.Millisecond // of processor time in a step
		limit = 2 * time.Minute
	)
	for began, before := time.Now(), b.cpu(); ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step):
		}
		now := b.cpu()
		if now-before <= quiet {
			return nil
		}
		if time.Since(began) > limit {
			return fmt.Errorf("a server has not come to rest in %v", limit)
		}
		before = now
	}
}

// cpu returns the processor time that all servers have used.
func (b *bench) cpu() (total time.Duration) {
	for _, s := range b.stations {
		total += s.CPU()
	}
	return total
}
