// Package asroot runs tests that need root, also for users who are not root: as root of
// a user namespace with the ids that the system gives that user and its own loopback
// ([Rerun]), or in a mount namespace ([Mounting]). So no test is skipped because of who
// runs it.
package asroot

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inside is set in the environment of the process in the namespaces.
const inside = "ASROOT_INSIDE"

// Rerun runs the calling test again as root of a user namespace, if the caller is not
// root, and returns true: the caller returns. If that is not possible, the test fails and
// names what is missing.
func Rerun(t *testing.T) (done bool) {
	t.Helper()
	if os.Getenv(inside) != "" {
		if err := raiseLoopback(); err != nil {
			t.Fatal("raise the loopback interface: ", err)
		}
	}
	if os.Geteuid() == 0 {
		return false
	}
	args := []string{"--map-root-user", "--map-auto", "--net",
		os.Args[0], "-test.run=^" + t.Name() + "$", "-test.count=1", "-test.v"}
	if end, ok := t.Deadline(); ok { // ends it even if this process is gone
		args = append(args, "-test.timeout="+max(time.Until(end), time.Second).String())
	}
	c := exec.CommandContext(t.Context(), "unshare", args...)
	c.Env = append(os.Environ(), inside+"=1")
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("as root of a user namespace: %v\n%s\nit needs newuidmap (Debian's uidmap) and a line for this user in /etc/subuid and /etc/subgid: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER", err, out)
	}
	return true
}

// raiseLoopback makes 127.0.0.1 reachable in a new network namespace.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
