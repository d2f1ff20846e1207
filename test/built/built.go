// Package built builds the program for the tests that run it as a process.
package built

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Server builds the program if need be and returns its path. It has the race detector if
// the test has, so that both share the build cache. It is kept for the next run. It does
// not read the configuration of the machine, nor write to the machine's log.
func Server(tb testing.TB) string {
	tb.Helper()
	path, err := server()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

var server = sync.OnceValues(func() (string, error) {
	module, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	dir := filepath.Join(filepath.Dir(strings.TrimSpace(string(module))), "build")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name, args := "mailsrv-plain", []string{"build"}
	if Race {
		name, args = "mailsrv-race", []string{"build", "-race"}
	}
	path := filepath.Join(dir, name)
	// Tests of several packages run concurrently.
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	args = append(args, "-tags=sqlite_omit_load_extension", "-ldflags=-X main.systemFile= -X main.logSocket=", "-o", path, "mailsrv/cmd/mailsrv")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})
