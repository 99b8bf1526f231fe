package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"guillotina_groupcache/internal/coherence"
)

// childSettings, in the environment, makes a process of the test's program a node of its own.
const childSettings = "GROUPCACHE_TEST_NODE"

func TestMain(m *testing.M) {
	if text := os.Getenv(childSettings); text != "" {
		if err := beNode(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child configures a node in a process of its own.
type child struct {
	Address string
	Private string // a folder that becomes another one here
}

// beNode opens a node, writes its row, and lives until its standard input ends. Its database queries are
// not answered, so it never joins.
func beNode(text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	if c.Private != "" {
		if err := unix.Mount("tmpfs", c.Private, "tmpfs", 0, "size=1m"); err != nil {
			return err
		}
	} else if err := loopbackUp(); err != nil {
		return err
	}
	n, err := Open(form(with(at(c.Address))))
	if err != nil {
		return err
	}
	defer n.Close()
	row := memberRow{Incarnation: uint64(n.mesh.Incarnation), Address: n.mesh.Address, Host: n.mesh.Host, State: "in"}
	if _, err := os.Stdout.Write(form(row)); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// elsewhere starts a node in a namespace of its own and returns its row. kill ends it.
func elsewhere(t *testing.T, namespace uintptr, c child) (row memberRow, kill func()) {
	t.Helper()
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), childSettings+"="+string(form(c)))
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespace}
	if id := os.Geteuid(); id != 0 {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: id, Size: 1}}
		command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	input, err := command.StdinPipe()
	must(t, err)
	output, err := command.StdoutPipe()
	must(t, err)
	if err := command.Start(); errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		t.Skipf("no namespace can be made here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
	t.Cleanup(kill)
	t.Cleanup(func() { input.Close() })
	must(t, json.NewDecoder(output).Decode(&row))
	return row, kill
}

// A path means another file in another mount namespace: a file at it here says nothing about a process
// there. That the process has ended can still be proved.
func TestAMemberInAnotherMountNamespace(t *testing.T) {
	db := newDatabase()
	p := cluster(t, db, unixAddress(t))[0]
	address := unixAddress(t)
	path := strings.TrimPrefix(address, "unix:")
	staleSocket(t, path)
	row, kill := elsewhere(t, syscall.CLONE_NEWNS, child{address, path[:len(path)-len("/s")]})
	db.with(func() { db.rows[row.Incarnation] = row })
	p.waitsForALease(row)
	kill()
	db.with(func() { row.State = "in"; db.rows[row.Incarnation] = row })
	eventually(t, "its end is noticed", func() bool { return countsAsEnded(db, row.Incarnation) })
}

// In another network namespace an address means something else too, and no end can be proved.
func TestAMemberInAnotherNetworkNamespace(t *testing.T) {
	for _, address := range []func(testing.TB) string{tcpAddress, unixAddress} {
		db := newDatabase()
		p := cluster(t, db, unixAddress(t))[0]
		row, _ := elsewhere(t, syscall.CLONE_NEWNET, child{Address: address(t)})
		if path, unix := strings.CutPrefix(row.Address, "unix:"); unix {
			must(t, os.Remove(path))
			staleSocket(t, path)
		}
		db.with(func() { db.rows[row.Incarnation] = row })
		p.waitsForALease(row)
	}
}

// waitsForALease writes, and checks that a member that does not acknowledge was marked out and
// not taken for ended.
func (p *process) waitsForALease(row memberRow) {
	p.t.Helper()
	if row.Host == "" {
		p.t.Fatal("the member does not say where it is")
	}
	eventually(p.t, "it is a member", func() bool {
		rows := p.rows()
		return len(rows) == 1 && rows[0].Incarnation == coherence.Incarnation(row.Incarnation)
	})
	p.write("k", "v", true)
	if now := p.db.row(row.Incarnation); now.State != "out" || !strings.HasSuffix(now.Reason, ": it does not acknowledge") {
		p.t.Errorf("it was not marked out because it does not acknowledge: %+v", now)
	}
}
