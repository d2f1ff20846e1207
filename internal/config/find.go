package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const localFile = "mailsrv.yaml"

// find returns the absolute path of the file to read: the one named, else the
// one in the environment, else localFile in the working directory if the
// caller owns it, else system. It is empty if there is none. A file that is named by the
// caller or the environment is not checked: reading it will fail.
func find(named, environment, system string) (file, warning string, err error) {
	if named == "" {
		named = environment
	}
	if named != "" {
		file, err = filepath.Abs(named)
		return file, "", err
	}
	local, err := filepath.Abs(localFile)
	if err != nil {
		return "", "", fmt.Errorf("working directory: %w", err)
	}
	switch owned, err := ownedByCaller(local); {
	case err == nil && owned:
		return local, "", nil
	case err == nil:
		warning = fmt.Sprintf("%s is left aside, since another user owns it: name it with --config to use it", local)
	case !errors.Is(err, fs.ErrNotExist):
		return "", "", err
	}
	if _, err := os.Stat(system); errors.Is(err, fs.ErrNotExist) {
		return "", warning, nil
	}
	return system, warning, nil
}

// ownedByCaller reports whether the caller owns the file, and a link to it. Somebody else
// may have put either into a shared folder.
func ownedByCaller(path string) (bool, error) {
	for _, stat := range []func(string) (fs.FileInfo, error){os.Lstat, os.Stat} {
		info, err := stat(path)
		if err != nil {
			return false, err
		}
		if owner, ok := info.Sys().(*syscall.Stat_t); !ok || int(owner.Uid) != os.Geteuid() {
			return false, nil
		}
	}
	return true, nil
}
