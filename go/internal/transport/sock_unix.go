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

// maxSocketPath is the longest path of a unix socket that the system accepts, in bytes.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

const (
	lockWait = 2 * time.Second       // for another process that replaces a socket in the same folder
	lockPoll = 10 * time.Millisecond // between two attempts
)

// unixListener is a listener whose socket file is removed with it.
type unixListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo // of the socket as it was created
}

// Close removes the socket file, if it is still the one that this listener created, and then closes
// the listener. Once the listener is closed the file may already belong to another process.
func (l *unixListener) Close() error {
	if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
		_ = os.Remove(l.path) // a stale file that remains is replaced by the next process
	}
	return l.UnixListener.Close()
}

// listenUnix listens on a unix socket of mode 0600. It replaces a stale socket file, whose
// process has ended. If a process listens there it returns ErrInUse.
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

// ownerOnly sets the mode of a socket before it is bound. Linux takes the mode of the file from
// it, so that there is no moment at which another user could connect. The umask would do the same,
// but belongs to the whole process.
func ownerOnly(_, _ string, socket syscall.RawConn) error {
	var err error
	if controlled := socket.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); controlled != nil {
		return controlled
	}
	return err
}

// checkFree returns nil if path does not exist or is a stale socket. A process that listens is found
// in the system's list, which does not disturb it, and works also if its file was removed. A process
// of another network namespace is not in that list; there only a refused connection proves that a
// socket is stale, as anything else may be a process that is too busy to answer.
func checkFree(path string) error {
	if isInUseUnix(path) {
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
		return errors.New("there is a file of that name that is not a socket")
	}
	conn, err := net.DialTimeout("unix", path, lockWait)
	if err == nil {
		_ = conn.Close()
		return ErrInUse
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("cannot determine whether another process listens there: %w", err)
}

// isInUseUnix reports whether a process of this network namespace listens at path.
func isInUseUnix(path string) bool {
	const flagsField, fieldsBeforePath, listening = 3, 7, 0x10000 // the flag __SO_ACCEPTCON
	list, _ := os.ReadFile("/proc/net/unix")                      // if it cannot be read, checkFree connects
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

// lockFolder keeps other processes from replacing a socket in the folder until unlock is called: two
// processes that find the same stale socket would each remove the other's new one.
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
