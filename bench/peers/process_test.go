package peers

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The time of a process that has ended still counts.
func TestTimeOfEndedChildrenCounts(t *testing.T) {
	s := &Server{Name: "sh"}
	// A child works and ends, then the shell waits for its input.
	command := exec.Command("sh", "-c", "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo done; read line")
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := s.launch(dir, command); err != nil {
		t.Fatal(err)
	}
	defer func() { input.Close(); s.Stop() }()
	done := counter{path: filepath.Join(dir, "sh.log"), text: []byte("done")}
	defer done.close()
	for end := time.Now().Add(time.Minute); done.count() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the child did not end")
		}
	}
	if n := s.Processes(); n != 1 {
		t.Errorf("%d processes, want the shell alone", n)
	}
	if s.CPU() < 50*time.Millisecond {
		t.Errorf("the child worked longer than %v", s.CPU())
	}
	if s.Memory() == 0 || s.Anonymous() == 0 {
		t.Errorf("memory %d, anonymous %d", s.Memory(), s.Anonymous())
	}
}

func TestCounterReadsOnlyWholeLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	c := counter{path: path, text: []byte("saved")}
	defer c.close()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, step := range []struct {
		text string
		want int
	}{{"one saved\ntwo sa", 1}, {"ved", 1}, {"\nother\nsaved\n", 3}} {
		file.WriteString(step.text)
		if n := c.count(); n != step.want {
			t.Errorf("after %q: %d, want %d", step.text, n, step.want)
		}
	}
}
