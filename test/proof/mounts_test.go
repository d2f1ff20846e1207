package proof

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"mailsrv/test/asroot"
)

// mountsVariable is set in a process that has its own mount namespace.
const mountsVariable = "PROOF_MOUNTS"

// ownMounts reports whether the test may mount file systems. If not, it runs the test
// again in a mount namespace that ends with it, and the test fails as that did.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountsVariable) != "" {
		return true
	}
	pattern := "^" + t.Name() + "$"
	if _, parts, chosen := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); chosen {
		pattern += "/" + parts
	}
	var problems []error
	for _, way := range asroot.Mounting() {
		c := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v", "-test.timeout=6h")
		c.Env = append(os.Environ(), mountsVariable+"=1")
		c.SysProcAttr = way
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Stderr = c.Stdout
		if err := c.Start(); err != nil {
			problems = append(problems, err)
			continue
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if line := lines.Text(); !strings.HasPrefix(line, "===") && line != "PASS" {
				t.Log(line)
			}
		}
		if err := c.Wait(); err != nil {
			t.Errorf("in a mount namespace of its own: %v", err)
		}
		return false
	}
	t.Fatal(asroot.NoMounting(problems, "go test -run "+t.Name()+" mailsrv/test/proof"))
	return false
}

// mountTmpfs mounts a file system of this size, in octets, and returns its folder.
func mountTmpfs(t *testing.T, octets int64) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("proof", dir, "tmpfs", 0, fmt.Sprintf("size=%d", octets)); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// freeOctets returns the free octets on the file system of dir.
func freeOctets(t *testing.T, dir string) int64 {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize
}
