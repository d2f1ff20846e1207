package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"
)

func main() {
	// Servers end when the thread that started them ends (Pdeathsig).
	runtime.LockOSThread()
	// The generator's garbage collector should not compete with the servers.
	debug.SetGCPercent(800)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		dir      = flag.String("dir", "", "empty `folder` on the disk to measure")
		programs = flag.String("programs", "build/bench", "`folder` of the programs mailsrv and discard")
		hashes   = flag.String("hashes", "build/bench/hashes", "`file` that keeps password hashes from run to run")
		document = flag.String("document", "", "Markdown `file` that takes the figures of a complete run")
		rounds   = flag.Int("rounds", 5, "turns of each contender, of which the median counts")
		pattern  = flag.String("rows", "", "regular `expression`: only rows whose names it matches")
		quick    = flag.Bool("quick", false, "short turns and small stores, for a first look")
		profile  = flag.String("profile", "", "`folder` for perf's profiles of mailsrv, one a turn")
		list     = flag.Bool("list", false, "print the names of the rows and end")
	)
	flag.Parse()
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	if *list {
		for _, r := range rows {
			fmt.Printf("%-16s %s\n", r.name, r.title)
		}
		return nil
	}
	if *dir == "" {
		return errors.New("-dir is missing: start bench/run")
	}
	b := &bench{
		dir: *dir, below: filepath.Join(*dir, "../.."), programs: *programs, profile: *profile,
		rounds: *rounds, quick: *quick, turn: 3 * time.Second,
	}
	if *quick {
		b.turn = 1500 * time.Millisecond
	}
	if err := b.prepare(*hashes); err != nil {
		return err
	}
	defer b.close()

	began := time.Now()
	var report report
	complete := !*quick
	for _, r := range rows {
		if !wanted.MatchString(r.name) {
			complete = false
			continue
		}
		if r.stage != b.stage {
			b.close()
			b.stage = r.stage
		}
		b.row = r.name
		fmt.Fprintf(os.Stderr, "\n%s: %s\n", r.name, r.title)
		o, err := r.run(ctx, b)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "  could not be measured:", err)
		}
		report.add(r, o, err)
	}
	b.close()
	report.conditions = conditions(*rounds, b.turn, time.Since(began))
	text := report.markdown()
	fmt.Print("\n", text)
	if *document != "" && complete {
		if err := replaceFigures(*document, text); err != nil {
			return err
		}
	}
	if failed := report.failures(); failed > 0 {
		return fmt.Errorf("%d rows could not be measured", failed)
	}
	return nil
}
