package node

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// folderAddress returns an address whose folder a test may replace by one that leads elsewhere.
func folderAddress(t *testing.T, folder string) string {
	t.Helper()
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return "unix:" + filepath.Join(folder, "s")
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// staleSocket makes a socket file whose process has ended.
func staleSocket(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	must(t, err)
	listener.SetUnlinkOnClose(false)
	must(t, listener.Close())
}

// An answer or a refusal at the address of a process proves nothing about it: its socket file may have
// been removed or replaced, or the path leads elsewhere, while the process serves on. So writers still
// wait for its acknowledgement, and no read there is old.
func TestAnAddressThatLeadsElsewhereProvesNothing(t *testing.T) {
	for what, elsewhere := range map[string]func(t *testing.T, folder string, db *database){
		"no process listens there": func(t *testing.T, folder string, _ *database) {
			must(t, os.Remove(filepath.Join(folder, "current")))
			must(t, os.Mkdir(filepath.Join(folder, "current"), 0o700))
			staleSocket(t, filepath.Join(folder, "current", "s"))
		},
		"a process listens that has just begun": func(t *testing.T, folder string, db *database) {
			must(t, os.Remove(filepath.Join(folder, "1", "s")))
			open(t, db, settings{"listen": folderAddress(t, filepath.Join(folder, "1"))})
		},
		"a member listens": func(t *testing.T, folder string, db *database) {
			other := open(t, db, settings{"listen": folderAddress(t, filepath.Join(folder, "2"))})
			eventually(t, "it serves", other.serves)
			must(t, os.Remove(filepath.Join(folder, "current")))
			must(t, os.Symlink("2", filepath.Join(folder, "current")))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			folder, err := os.MkdirTemp("", "gc")
			must(t, err)
			t.Cleanup(func() { os.RemoveAll(folder) })
			must(t, os.Mkdir(filepath.Join(folder, "1"), 0o700))
			must(t, os.Symlink("1", filepath.Join(folder, "current")))
			db := newDatabase()
			all := cluster(t, db, "unix:"+filepath.Join(folder, "current", "s"), unixAddress(t))
			alive, writer := all[0], all[1]
			elsewhere(t, folder, db)
			key := keyOf(alive, 0)
			writer.dialAgain(alive)
			for i := 0; writer.logLines("cannot be reached") == 0; i++ {
				if countsAsEnded(db, alive.incarnationID()) {
					t.Fatal("it counts as ended")
				}
				writer.write(key, fmt.Sprint(i), false)
				for range 2 { // the second one is from memory
					if got := alive.get(key); got != fmt.Sprint(i) {
						t.Fatalf("it reads %q after a write of %d", got, i)
					}
				}
			}
			if !alive.serves() {
				t.Error("it was put out")
			}
			alive.end()
			eventually(t, "its end is noticed", func() bool { return countsAsEnded(db, alive.incarnationID()) })
		})
	}
}

// dialAgain ends the sessions that this process has opened to another one.
func (p *process) dialAgain(other *process) {
	p.driver.Lock()
	sessions := append(p.mesh.Peers[other.mesh.Incarnation].Sessions[:0:0], p.mesh.Peers[other.mesh.Incarnation].Sessions...)
	p.driver.Unlock()
	for _, s := range sessions {
		if s.Outgoing() {
			s.Close(nil)
		}
	}
}

// countsAsEnded reports whether a process is marked out because it is proved to have ended.
func countsAsEnded(db *database, who uint64) bool {
	row := db.row(who)
	return row.State == "out" && strings.HasSuffix(row.Reason, ": it has ended")
}
