package powerloss

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// opKind is the kind of an operation on the disk.
type opKind int

const (
	opCreate     opKind = iota // name is now that of file
	opWrite                    // data at offset
	opTruncate                 // to offset
	opSync                     // of file
	opSyncFailed               // of file
	opSyncDir                  // of all names
	opRename                   // name to newName
	opRemove                   // name
)

// op is one operation on the disk. All names are in one folder.
type op struct {
	kind    opKind
	file    uint64 // a file keeps its number when it is renamed
	name    string
	newName string
	offset  int64
	data    []byte
}

// Kind is the kind of an [Access].
type Kind int

const (
	Read Kind = iota
	Write
	Sync // fsync and fdatasync
)

// Access is a read, write or sync that is about to be made, and can be made to fail. A
// file keeps its number when it is renamed. A folder has none.
type Access struct {
	Kind   Kind
	File   uint64
	Name   string
	Offset int64
	Length int
}

// Recorder is a file system that passes all operations on to a folder below, and records
// them. All methods are safe for concurrent use.
type Recorder struct {
	server *fuse.Server
	bound  []string // files mounted by shareFrom

	mu    sync.Mutex
	fail  func(Access) syscall.Errno // see SetFail
	ops   []op
	files map[uint64]uint64 // file numbers by the inodes below
	next  uint64
}

// Mount mounts a recorder of the folder below at mountpoint. Both exist and are empty. It
// needs root, or a user namespace. The caller unmounts it.
//
// The files named shared are kept in the folder aside and are not recorded. They must be
// those that a program maps into its memory: such a file on a FUSE file system that the
// same process serves can block the process forever, since the kernel waits for its
// pages to be written while the process waits for memory to write them.
func Mount(below, mountpoint, aside string, shared ...string) (*Recorder, error) {
	r := &Recorder{files: map[uint64]uint64{}}
	root := &fs.LoopbackRoot{Path: below}
	//lint:ignore SA1019 its successor wraps a node that is a loopback's already
	root.NewNode = func(data *fs.LoopbackRoot, _ *fs.Inode, _ string, _ *syscall.Stat_t) fs.InodeEmbedder {
		return &node{LoopbackNode: fs.LoopbackNode{RootData: data}, recorder: r}
	}
	top := &node{LoopbackNode: fs.LoopbackNode{RootData: root}, recorder: r}
	root.RootNode = top
	var err error
	r.server, err = fs.Mount(mountpoint, top, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMount: true, DirectMountStrict: true, FsName: "powerloss", Name: "powerloss"},
	})
	if err != nil {
		return nil, err
	}
	for _, name := range shared {
		if err := r.shareFrom(aside, below, mountpoint, name); err != nil {
			return nil, errors.Join(fmt.Errorf("mount %s aside: %w", name, err), r.Unmount())
		}
	}
	return r, nil
}

// shareFrom mounts a file of the folder aside over the one at the mountpoint.
func (r *Recorder) shareFrom(aside, below, mountpoint, name string) error {
	for _, folder := range []string{aside, below} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			return err
		}
	}
	place := filepath.Join(mountpoint, name)
	if err := syscall.Mount(filepath.Join(aside, name), place, "", syscall.MS_BIND, ""); err != nil {
		return err
	}
	r.bound = append(r.bound, place)
	return nil
}

// Unmount ends the file system. No file on it may be open.
func (r *Recorder) Unmount() error {
	var failures []error
	for _, place := range r.bound {
		failures = append(failures, syscall.Unmount(place, 0))
	}
	return errors.Join(append(failures, r.server.Unmount())...)
}

// Now returns the number of operations so far. What is acknowledged now must survive a
// cut at that number or a later one.
func (r *Recorder) Now() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

// SetFail sets a function that is called before each access to a file. If it returns
// another value than 0, the access fails with that. nil removes the function. A failed
// sync never brings its writes to the disk.
func (r *Recorder) SetFail(f func(Access) syscall.Errno) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = f
}

func (r *Recorder) failure(a Access) syscall.Errno {
	r.mu.Lock()
	fail := r.fail
	r.mu.Unlock()
	if fail == nil {
		return 0
	}
	return fail(a)
}

func (r *Recorder) add(o op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, o)
}

// fileOf returns the number of the file with an inode below. fresh assigns a new number,
// since the inode of a removed file may be used again.
func (r *Recorder) fileOf(inode uint64, fresh bool) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, known := r.files[inode]
	if !known || fresh {
		r.next++
		n = r.next
		r.files[inode] = n
	}
	return n
}

// node is a file or folder.
type node struct {
	fs.LoopbackNode
	recorder *Recorder
}

func (n *node) base() string { return filepath.Base(n.Path(n.Root())) }

func inodeOf(f *fs.LoopbackFile) uint64 {
	var out fuse.AttrOut
	f.Getattr(context.Background(), &out)
	return out.Ino
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, handle, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return child, handle, fuseFlags, errno
	}
	f := &file{LoopbackFile: handle.(*fs.LoopbackFile), recorder: n.recorder, name: name}
	f.number = n.recorder.fileOf(inodeOf(f.LoopbackFile), true)
	n.recorder.add(op{kind: opCreate, file: f.number, name: name})
	return child, f, fuseFlags, 0
}

// Open implements fs.NodeOpener.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	handle, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != 0 {
		return handle, fuseFlags, errno
	}
	f := &file{LoopbackFile: handle.(*fs.LoopbackFile), recorder: n.recorder, name: n.base()}
	f.number = n.recorder.fileOf(inodeOf(f.LoopbackFile), false)
	if flags&syscall.O_TRUNC != 0 {
		n.recorder.add(op{kind: opTruncate, file: f.number, name: f.name})
	}
	return f, fuseFlags, 0
}

// OpendirHandle implements fs.NodeOpendirHandler, for the syncing of folders.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	handle, fuseFlags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if stream, ok := handle.(fs.DirStream); ok && errno == 0 {
		handle = &folder{DirStream: stream, handle: handle, recorder: n.recorder, name: n.base()}
	}
	return handle, fuseFlags, errno
}

// Setattr implements fs.NodeSetattrer.
func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	var below fs.FileHandle
	if own, ok := f.(*file); ok {
		below = own.LoopbackFile
	}
	errno := n.LoopbackNode.Setattr(ctx, below, in, out)
	if size, ok := in.GetSize(); ok && errno == 0 {
		n.recorder.add(op{kind: opTruncate, file: n.recorder.fileOf(out.Ino, false), name: n.base(), offset: int64(size)})
	}
	return errno
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	errno := n.LoopbackNode.Unlink(ctx, name)
	if errno == 0 {
		n.recorder.add(op{kind: opRemove, name: name})
	}
	return errno
}

// Rename implements fs.NodeRenamer.
func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	errno := n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
	if errno == 0 {
		n.recorder.add(op{kind: opRename, name: name, newName: newName})
	}
	return errno
}

// file is an open file.
type file struct {
	*fs.LoopbackFile
	recorder *Recorder
	number   uint64
	name     string
}

// PassthroughFd keeps the kernel from writing past the recorder.
func (f *file) PassthroughFd() (int, bool) { return 0, false }

// Read implements fs.FileReader.
func (f *file) Read(ctx context.Context, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := f.recorder.failure(Access{Read, f.number, f.name, off, len(buf)}); errno != 0 {
		return nil, errno
	}
	return f.LoopbackFile.Read(ctx, buf, off)
}

// Write implements fs.FileWriter.
func (f *file) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := f.recorder.failure(Access{Write, f.number, f.name, off, len(data)}); errno != 0 {
		return 0, errno
	}
	n, errno := f.LoopbackFile.Write(ctx, data, off)
	if errno == 0 {
		f.recorder.add(op{kind: opWrite, file: f.number, name: f.name, offset: off, data: bytes.Clone(data[:n])})
	}
	return n, errno
}

// Writev implements fs.FileWritever.
func (f *file) Writev(ctx context.Context, data [][]byte, off int64) (uint32, syscall.Errno) {
	return f.Write(ctx, bytes.Join(data, nil), off)
}

// Fsync implements fs.FileFsyncer.
func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.recorder.failure(Access{Kind: Sync, File: f.number, Name: f.name}); errno != 0 {
		f.recorder.add(op{kind: opSyncFailed, file: f.number, name: f.name})
		return errno
	}
	f.recorder.add(op{kind: opSync, file: f.number, name: f.name})
	return 0 // the disk below need not sync
}

// Allocate implements fs.FileAllocater. It is not recorded: only the reserve file is
// allocated, and it has no content.
func (f *file) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}

// folder is an open folder.
type folder struct {
	fs.DirStream
	handle   fs.FileHandle
	recorder *Recorder
	name     string
}

// Fsyncdir implements fs.FileFsyncdirer.
func (d *folder) Fsyncdir(context.Context, uint32) syscall.Errno {
	if errno := d.recorder.failure(Access{Kind: Sync, Name: d.name}); errno != 0 {
		return errno
	}
	d.recorder.add(op{kind: opSyncDir})
	return 0
}

// Readdirent implements fs.FileReaddirenter.
func (d *folder) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	return d.handle.(fs.FileReaddirenter).Readdirent(ctx)
}

// Releasedir implements fs.FileReleasedirer.
func (d *folder) Releasedir(ctx context.Context, flags uint32) {
	d.handle.(fs.FileReleasedirer).Releasedir(ctx, flags)
}
