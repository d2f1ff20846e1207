package asroot

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Mounting returns the ways to start a process that may mount file systems, in a mount
// namespace that ends with it. The second is to be tried if the first fails.
func Mounting() (ways []*syscall.SysProcAttr) {
	if os.Getuid() == 0 {
		ways = append(ways, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	}
	return append(ways, &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, Unshareflags: syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	})
}

// NoMounting returns an error that says what to do if all ways have failed: run the
// command as root, or allow users to make namespaces.
func NoMounting(failed []error, command string) error {
	return fmt.Errorf("this needs a file system of its own, and none can be mounted (%w). Run as root:\n\t%s\n"+
		"or let users have namespaces:\n\tsysctl -w user.max_user_namespaces=10000\n\tsysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
		errors.Join(failed...), command)
}
