package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"mailsrv/internal/logs"
	"mailsrv/storage"
)

// What the store reports without advice gets it here, in commands and in the log.
func TestRemedies(t *testing.T) {
	if plain := errors.New("x"); remedied(plain) != plain || remedied(nil) != nil {
		t.Error("an error without a remedy is another one")
	}
	for _, r := range remedies {
		if got := remedied(fmt.Errorf("x: %w", r.err)); !errors.Is(got, r.err) || got.Error() != "x: "+r.err.Error()+": "+r.remedy {
			t.Errorf("%v", got)
		}
		if strings.Contains(r.err.Error(), "mailsrv check") || strings.Contains(r.err.Error(), "mailsrv restore") {
			t.Errorf("%v says what to type", r.err)
		}
	}
	var log logs.Recorder
	logger := slog.New(remedial{slog.NewTextHandler(&log, nil)}).With("a", 1)
	logger.Error(logs.Failed, logs.Error, fmt.Errorf("read: %w", storage.ErrCorrupt))
	logger.Error(logs.Failed, logs.Error, fs.ErrClosed, logs.Reason, "other")
	if got := log.String(); strings.Count(got, "check --repair") != 1 || strings.Count(got, "a=1") != 2 || !strings.Contains(got, "file already closed") {
		t.Errorf("%s", got)
	}
}
