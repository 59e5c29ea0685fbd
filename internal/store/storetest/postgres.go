package storetest

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
)

// server is the one PostgreSQL server of the test binary.
var server = struct {
	sync.Mutex
	addr  string
	next  int
	alive io.Closer // the pipe whose end stops the server; kept from the garbage collector
}{}

// Postgres returns the URL of a fresh, empty database. The server is started on first use; it ends with the test binary,
// also when that is killed. Without PostgreSQL installed the test fails and says what to install.
func Postgres(t testing.TB) string {
	t.Helper()
	return create(t, "")
}

// PostgresLike returns the URL of a copy of a database that [Postgres] made and that nobody has open.
func PostgresLike(t testing.TB, original string) string {
	t.Helper()
	return create(t, " TEMPLATE "+original[strings.LastIndexByte(original, '/')+1:])
}

func create(t testing.TB, options string) string {
	t.Helper()
	server.Lock()
	defer server.Unlock()
	if server.addr == "" {
		addr, err := startPostgres()
		if err != nil {
			t.Fatalf("start PostgreSQL: %v", err)
		}
		server.addr = addr
	}
	server.next++
	name := fmt.Sprintf("slipway_%d", server.next)
	admin, err := sql.Open("pgx", "postgres://slipway@"+server.addr+"/postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := admin.Exec("CREATE DATABASE " + name + options); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	return "postgres://slipway@" + server.addr + "/" + name
}

func startPostgres() (string, error) {
	bin, err := findPostgres()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "slipway-postgres-")
	if err != nil {
		return "", err
	}
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 { // the server refuses to run as root
		cred, err := unprivileged()
		if err != nil {
			return "", err
		}
		attr.Credential = cred
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return "", err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-A", "trust", "-U", "slipway", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	// The shell stops the server and removes its folder when this process ends and the pipe closes.
	script := `"$1" -D "$2" -p "$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -c max_connections=200 & pg=$!
		trap '' INT TERM; cat >/dev/null; kill -INT $pg; wait $pg; rm -rf "$4"`
	cmd := exec.Command("/bin/sh", "-c", script, "sh", filepath.Join(bin, "postgres"), data, strconv.Itoa(port), dir)
	own := *attr
	own.Setpgid = true
	cmd.SysProcAttr, cmd.Dir = &own, dir
	alive, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	server.alive = alive
	errs, err := cmd.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", port), waitReady(bufio.NewScanner(errs))
}

// waitReady reads the server's log until it says that it accepts connections.
func waitReady(log *bufio.Scanner) error {
	ready := make(chan error, 1)
	go func() {
		var said []string
		for log.Scan() {
			said = append(said, log.Text())
			if strings.Contains(log.Text(), "ready to accept connections") {
				ready <- nil
				for log.Scan() { // keep the pipe empty
				}
				return
			}
		}
		ready <- fmt.Errorf("it ended early:\n%s", strings.Join(said, "\n"))
	}()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	select {
	case err := <-ready:
		return err
	case <-ctx.Done():
		return fmt.Errorf("not ready after a minute")
	}
}

func findPostgres() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if _, err := os.Stat(filepath.Join(dirs[i], "initdb")); err == nil {
			return dirs[i], nil
		}
	}
	return "", fmt.Errorf("no PostgreSQL server below /usr/lib/postgresql; run 'make setup' or install the package postgresql")
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("no unprivileged user to run PostgreSQL as")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
