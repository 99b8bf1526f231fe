package transport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// listenUnix listens on a unix socket of mode 0600. It replaces a stale socket file, whose
// process has ended; where one is alive it returns ErrInUse.
func listenUnix(path string) (net.Listener, error) {
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkFree(path); err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	bound, err := (&net.ListenConfig{Control: ownerOnly}).Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	listener := &unixListener{UnixListener: bound.(*net.UnixListener), path: path}
	listener.SetUnlinkOnClose(false)
	if listener.file, err = os.Lstat(path); err == nil && listener.file.Mode() != fs.ModeSocket|0o600 {
		err = fmt.Errorf("the system gave the socket the mode %v", listener.file.Mode())
	}
	if err != nil {
		_ = listener.Close()
		return nil, err
	}
	return listener, nil
}

// ownerOnly is called for a socket before it is bound. Linux takes the mode of the file from
// it then, so that there is no moment at which somebody else could connect; the umask is
// the whole process's, and not ours to change.
func ownerOnly(_, _ string, socket syscall.RawConn) error {
	var err error
	if controlled := socket.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); controlled != nil {
		return controlled
	}
	return err
}

// checkFree returns nil if path is absent or a stale socket. A process that listens is found
// in the system's list, without disturbing it, and also if its file was removed. One in
// another network namespace is not in that list: there only a refused connection shows that
// a socket is stale, for anything else may be a process too busy to answer.
func checkFree(path string) error {
	if isListedUnix(path) {
		return ErrInUse
	}
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

// isListedUnix tells whether a process of this network namespace listens at path.
func isListedUnix(path string) bool {
	const flagsField, fieldsBeforePath, listening = 3, 7, 0x10000 // the flag __SO_ACCEPTCON
	list, _ := os.ReadFile("/proc/net/unix")                      // without it, connecting tells
	for line := range strings.Lines(string(list)) {
		before, found := strings.CutSuffix(line, " "+path+"\n")
		fields := strings.Fields(before)
		if !found || len(fields) != fieldsBeforePath {
			continue
		}
		if flags, err := strconv.ParseUint(fields[flagsField], 16, 32); err == nil && flags&listening != 0 {
			return true
		}
	}
	return false
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
