package logs_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"mailsrv/internal/logs"
)

func TestFormatsAndLevel(t *testing.T) {
	for format, check := range map[string]func(line string) bool{
		"text": func(line string) bool { return strings.Contains(line, `msg="session end" proto=smtp`) },
		"json": func(line string) bool { return json.Valid([]byte(line)) },
	} {
		var out bytes.Buffer
		level := &slog.LevelVar{}
		level.Set(slog.LevelWarn)
		logger, err := logs.New(&out, format, level)
		if err != nil {
			t.Fatal(err)
		}
		logger.Info(logs.SessionEnd, logs.Proto, "smtp")
		if out.Len() > 0 {
			t.Errorf("%s: a line below the level: %s", format, out.String())
		}
		level.Set(slog.LevelInfo)
		logger.Info(logs.SessionEnd, logs.Proto, "smtp")
		if !check(out.String()) {
			t.Errorf("%s: got %s", format, out.String())
		}
	}
	if _, err := logs.New(&bytes.Buffer{}, "xml", &slog.LevelVar{}); err == nil {
		t.Error("format xml was taken")
	}
}

// What a peer says must not forge a line.
func TestOneLinePerEvent(t *testing.T) {
	var out bytes.Buffer
	logger, err := logs.New(&out, "text", &slog.LevelVar{})
	if err != nil {
		t.Fatal(err)
	}
	logger.Info(logs.Refused, logs.Helo, "x\r\nlevel=INFO msg=login\x1b[2J")
	if text := out.String(); strings.Count(text, "\n") != 1 || strings.ContainsAny(text, "\r\x1b") {
		t.Errorf("got %q", text)
	}
}

func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"":                        "",
		"look@me.com":             "look@me.com",
		"jörg\t緑":                 "jörg?緑",
		"\x1b[2J\u202e\u0090\xff": "?[2J???",
		"0123456789abcdef":        "0123456789abcdef",
		"0123456789abcdefg":       "0123456789abcdef…",
		"0123456789abcdeöx":       "0123456789abcde…", // not within a character
	} {
		if got := logs.Text(s, 16); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
