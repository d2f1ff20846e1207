package powerloss

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"mailsrv/internal/listen"
)

// Wherever the power is cut while the self-signed pair is made, each of its files is
// whole or not there, the next start has a pair, and one that was made stays the same.
func TestSelfSignedOutlivesACut(t *testing.T) {
	below, mountpoint := scratch(t), t.TempDir()
	recorder, err := Mount(below, mountpoint, scratch(t))
	if err != nil {
		t.Fatalf("FUSE cannot be mounted (%v). As root, run:\n\tmodprobe fuse && chmod 666 /dev/fuse", err)
	}
	defer func() {
		if err := recorder.Unmount(); err != nil {
			t.Error(err)
		}
	}()
	var whole [][]byte
	_, _, made, err := listen.SelfSigned(mountpoint, "mail.me.com")
	if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	for _, name := range listen.SelfSignedNames {
		text, err := os.ReadFile(filepath.Join(mountpoint, name))
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, text)
	}
	disk := recorder.Disk()
	for cut := range disk.Len() + 1 {
		for seed := range uint64(20) {
			dir := t.TempDir()
			if err := disk.LayOut(dir, cut, rand.New(rand.NewPCG(seed, uint64(cut)))); err != nil {
				t.Fatal(err)
			}
			for i, name := range listen.SelfSignedNames {
				text, err := os.ReadFile(filepath.Join(dir, name))
				if !errors.Is(err, fs.ErrNotExist) && !bytes.Equal(text, whole[i]) {
					t.Errorf("cut %d of %d leaves %d of %d octets of %s: %v", cut, disk.Len(), len(text), len(whole[i]), name, err)
				}
			}
			cert, key, made, err := listen.SelfSigned(dir, "mail.me.com")
			if err != nil || made && cut == disk.Len() {
				t.Errorf("after cut %d of %d: made %t, %v", cut, disk.Len(), made, err)
			}
			if _, err := listen.ReadPair(cert, key); err != nil {
				t.Errorf("after cut %d of %d: %v", cut, disk.Len(), err)
			}
			os.RemoveAll(dir)
		}
	}
}
