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
)

// mountsVariable is set where mounts are this process's own.
const mountsVariable = "PROOF_MOUNTS"

// ownMounts reports whether the test may mount file systems. If not, it runs
// the test again where it may, in a mount namespace that ends with it, and
// reports what came of that.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv(mountsVariable) != "" {
		return true
	}
	self := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	group := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	ways := []*syscall.SysProcAttr{{
		Cloneflags: syscall.CLONE_NEWUSER, Unshareflags: syscall.CLONE_NEWNS, UidMappings: self, GidMappings: group,
	}}
	if os.Getuid() == 0 {
		ways = append([]*syscall.SysProcAttr{{Unshareflags: syscall.CLONE_NEWNS}}, ways...)
	}
	pattern := "^" + t.Name() + "$"
	if _, parts, chosen := strings.Cut(flag.Lookup("test.run").Value.String(), "/"); chosen {
		pattern += "/" + parts
	}
	var problems []string
	for _, way := range ways {
		c := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v", "-test.timeout=6h")
		c.Env = append(os.Environ(), mountsVariable+"=1", serverVariable+"="+serverBinary(t))
		c.SysProcAttr = way
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Stderr = c.Stdout
		if err := c.Start(); err != nil {
			problems = append(problems, err.Error())
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
	t.Fatalf("this test needs a file system of its own, and none can be mounted (%s). Run as root:\n\tgo test -run %s mailsrv/internal/proof\n"+
		"or let users have namespaces:\n\tsysctl -w user.max_user_namespaces=10000\n\tsysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
		strings.Join(problems, "; "), t.Name())
	return false
}

// mountTmpfs mounts a file system of so many octets and returns its folder.
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

// freeOctets is what is left on the file system of dir.
func freeOctets(t *testing.T, dir string) int64 {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize
}
