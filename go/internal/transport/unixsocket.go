package transport

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// maxSocketPath is the longest path that the system takes for a unix socket, in bytes.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

const (
	lockWait = 2 * time.Second       // for another process that takes a socket's place
	lockPoll = 10 * time.Millisecond // between two attempts
)

// unixListener is a listener whose socket file is removed with it.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // of the socket as we made it
}

// Close removes the socket file, if it is still ours, and ends the listener. In this order:
// a file whose listener is gone may already be another process's.
func (l *unixListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
		_ = os.Remove(l.path) // what stays is stale, and the next process replaces it
	}
	return l.UnixListener.Close()
}

// Addr returns the final path; the embedded listener knows only the one it was made with.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// listenUnix listens on a unix socket of mode 0600. It replaces a stale socket file, whose
// process has ended; where one is alive it returns ErrInUse.
//
// The mode of a socket is decided when it is bound, and the process-wide umask is not ours
// to change in a process full of other threads. So the socket is made in a directory that
// nobody else may enter, and moved to its place with its final mode.
func listenUnix(path string) (net.Listener, error) {
	folder := filepath.Dir(path)
	unlock, err := lockFolder(folder)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkFree(path); err != nil {
		return nil, err
	}
	private, err := os.MkdirTemp(folder, ".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(private) }()
	made := filepath.Join(private, "s")
	if len(made) > maxSocketPath {
		return nil, fmt.Errorf("the folder of the socket may have at most %d bytes in its path",
			maxSocketPath-len(made)+len(folder))
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	file, err := place(made, path)
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	return &unixListener{listener, path, file}, nil
}

// place gives a new socket its mode and its path.
func place(made, path string) (fs.FileInfo, error) {
	if err := os.Chmod(made, 0o600); err != nil {
		return nil, err
	}
	file, err := os.Lstat(made)
	if err != nil {
		return nil, err
	}
	return file, os.Rename(made, path)
}

// checkFree returns nil if path is absent or a stale socket. Only a refused connection
// shows that a socket is stale; anything else may be a process too busy to answer.
func checkFree(path string) error {
	file, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if file.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file of that name which is no socket")
	}
	conn, err := net.DialTimeout("unix", path, lockWait)
	if err == nil {
		_ = conn.Close()
		return ErrInUse
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("cannot tell whether another process listens there: %w", err)
}

// lockFolder keeps other processes from replacing a socket in the folder meanwhile: two
// that find the same stale one would each remove the other's new one.
func lockFolder(folder string) (unlock func(), err error) {
	dir, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(lockPoll) {
		err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = dir.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) || time.Now().After(end) {
			_ = dir.Close()
			return nil, fmt.Errorf("cannot lock the folder %s: %w", folder, err)
		}
	}
}
