package pop3d_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// spoken is one command of a transcript and what came of it.
type spoken struct {
	state, verb string
	argument    bool
	accepted    bool
}

// spokenIn reads which commands a transcript gives in which state. Replies come
// in the order of the commands; the lines of a text are no replies.
func spokenIn(script string) (all []spoken) {
	state := "AUTHORIZATION"
	var waiting []string // for their replies
	responses := 0       // to come, to challenges of AUTH
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		mark, text, _ := strings.Cut(line, " ")
		switch mark {
		case "(starttls)": // what came with STLS is thrown away
			waiting = nil
		case "C:", "C|":
			if responses > 0 {
				responses--
				continue
			}
			waiting = append(waiting, text)
		case "S:", "S~":
			accepted := strings.HasPrefix(text, "+OK")
			challenge := strings.HasPrefix(text, "+ ")
			if len(waiting) == 0 || !accepted && !challenge && !strings.HasPrefix(text, "-ERR") {
				continue
			}
			switch {
			case challenge && len(waiting) > 1: // the response came already
				waiting = append(waiting[:1], waiting[2:]...)
				continue
			case challenge:
				responses++
				continue
			}
			verb, argument, _ := strings.Cut(waiting[0], " ")
			waiting = waiting[1:]
			all = append(all, spoken{state, strings.ToUpper(verb), strings.Trim(argument, " ") != "", accepted})
			if strings.Contains(text, "maildrop has ") {
				state = "TRANSACTION"
			}
		}
	}
	return all
}

// Every command is given in every state, right and wrong.
func TestTranscriptsCoverEveryCommand(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[spoken]bool{}
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range spokenIn(string(script)) {
			seen[s] = true
		}
	}
	const right, wrong = true, false
	want := func(state, verb string, argument, accepted bool) {
		if !seen[spoken{state, verb, argument, accepted}] {
			t.Errorf("no transcript has %s in %s, argument %v, accepted %v", verb, state, argument, accepted)
		}
	}
	const with, without = true, false
	for _, verb := range []string{"STLS", "UTF8", "CAPA", "QUIT"} {
		want("AUTHORIZATION", verb, without, right)
		want("AUTHORIZATION", verb, with, wrong)
	}
	for _, verb := range []string{"USER", "PASS", "AUTH"} {
		want("AUTHORIZATION", verb, with, right)
		want("AUTHORIZATION", verb, with, wrong)
		want("TRANSACTION", verb, with, wrong)
	}
	want("AUTHORIZATION", "USER", without, wrong)
	want("AUTHORIZATION", "PASS", without, wrong)
	want("AUTHORIZATION", "AUTH", without, right)
	for _, verb := range []string{"STLS", "UTF8", "AUTH"} {
		want("TRANSACTION", verb, without, wrong)
	}
	for _, verb := range []string{"STAT", "RSET", "NOOP", "CAPA", "QUIT"} {
		want("TRANSACTION", verb, without, right)
		want("TRANSACTION", verb, with, wrong)
	}
	for _, verb := range []string{"RETR", "DELE", "TOP"} {
		want("TRANSACTION", verb, with, right)
		want("TRANSACTION", verb, with, wrong)
		want("TRANSACTION", verb, without, wrong)
		want("AUTHORIZATION", verb, with, wrong)
	}
	for _, verb := range []string{"LIST", "UIDL"} {
		want("TRANSACTION", verb, without, right)
		want("TRANSACTION", verb, with, right)
		want("TRANSACTION", verb, with, wrong)
		want("AUTHORIZATION", verb, without, wrong)
		want("AUTHORIZATION", verb, with, wrong)
	}
	for _, verb := range []string{"STAT", "RSET", "NOOP"} {
		want("AUTHORIZATION", verb, without, wrong)
	}
	for _, state := range []string{"AUTHORIZATION", "TRANSACTION"} {
		want(state, "APOP", with, wrong)
		want(state, "XYZZY", strings.HasPrefix(state, "A"), wrong)
		want(state, "", without, wrong)
	}
}
