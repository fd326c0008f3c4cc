package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestALineOfTheLogForPeople(t *testing.T) {
	t.Parallel()
	zone := time.Local //nolint:gosmopolitan // the terminal's reader lives there
	at := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC).In(zone).Format("15:04:05.000")
	long := strings.Repeat("ä", 200)
	for line, want := range map[string]string{
		`{"time":"2026-03-01T12:00:00.005Z","level":"INFO","msg":"request","status":200,"caller":"","route":"/v1/x","trace_id":"t","span_id":"s"}`: at + " INFO  request  status=200  route=/v1/x",
		`{"time":"2026-03-01T12:00:00.005Z","level":"ERROR","msg":"oh","error":"` + long + `","modules":["a","b"]}`:                                at + " ERROR oh  error=" + long + `  modules=["a","b"]`,
		"panic: something":      "panic: something",
		`{"half":`:              `{"half":`,
		`{"no":"time"}`:         `{"no":"time"}`,
		`[1]`:                   `[1]`,
		`{"time":1,"x":{}} {"}`: `{"time":1,"x":{}} {"}`,
	} {
		if got := string(readable([]byte(line + "\n"))); got != want+"\n" {
			t.Errorf("%s\n  becomes %q, not\n  %q", line, got, want)
		}
	}
	short := string(readable([]byte(`{"time":"2026-03-01T12:00:00.005Z","level":"INFO","msg":"settings","a":"` + long + "\"}\n")))
	if len(short) > 300 || !strings.HasSuffix(short, "ä …\n") {
		t.Errorf("a long list is not cut, or in the middle of a letter: %q", short)
	}
}

func TestTheLogIsWholeAndBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), logFile)
	content := func(name string) string {
		text, _ := os.ReadFile(name)
		return string(text)
	}
	var screen bytes.Buffer
	l, err := openLog(path, &screen)
	if err != nil {
		t.Fatal(err)
	}
	var writing sync.WaitGroup
	for _, name := range []string{"first", "second"} {
		writing.Go(func() {
			w := l.Writer()
			for range 100 {
				for _, part := range []string{"the ", name, " server\nand ", "more\n"} {
					_, _ = io.WriteString(w, part)
				}
			}
		})
	}
	writing.Wait()
	for line := range strings.Lines(content(path)) {
		if line != "the first server\n" && line != "the second server\n" && line != "and more\n" {
			t.Fatalf("two servers speak at once: %q", line)
		}
	}
	if screen.String() != content(path) || strings.Count(content(path), "\n") != 400 {
		t.Errorf("the file has %d lines, the screen %d", strings.Count(content(path), "\n"), strings.Count(screen.String(), "\n"))
	}

	before := content(path)
	if l, err = openLog(path, io.Discard); err != nil || content(path) != "" || content(path+".1") != before {
		t.Fatalf("a new run does not begin a new log beside the old one: %v", err)
	}
	line := strings.Repeat("x", 1<<16) + "\n"
	w := l.Writer()
	for range 3 * logLimit / len(line) {
		_, _ = io.WriteString(w, line)
	}
	for _, name := range []string{path, path + ".1"} {
		if size := len(content(name)); size == 0 || size > logLimit+2*len(line) {
			t.Errorf("%s has %d bytes", name, size)
		}
	}
}

func TestLogsFollowTheServer(t *testing.T) {
	t.Parallel()
	root := fake(t)
	none := launcher(root, nil, "-logs")
	var why bytes.Buffer
	none.Stderr = &why
	if err := none.Run(); err == nil || !strings.Contains(why.String(), "`make dev`") {
		t.Errorf("without a log: %v, %s", err, &why)
	}

	l, err := openLog(filepath.Join(root, ".local", logFile), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	w := l.Writer()
	fmt.Fprintln(w, strings.Repeat("old ", 6000))
	fmt.Fprintln(w, "one")
	logs := launcher(root, nil, "-logs")
	out, _ := logs.StdoutPipe()
	if err := logs.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { logs.Process.Kill() })
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("make logs shows %q, not %q", lines.Text(), want)
		}
	}
	next("one") // the end of the log, and no half line
	fmt.Fprintln(w, "two")
	next("two")
	if err := l.next(); err != nil { // full, or another run
		t.Fatal(err)
	}
	fmt.Fprintln(w, "three")
	next("three")
	_ = l.file.Close()
	if lines.Scan() {
		t.Errorf("after the end it shows %q", lines.Text())
	}
	if err := logs.Wait(); err != nil {
		t.Errorf("when the server has gone, make logs ends with %v", err)
	}
}

func TestAnEditionEndsWithASave(t *testing.T) {
	t.Parallel()
	for how, save := range map[string]func(file string) error{
		"written in place":             func(file string) error { return os.WriteFile(file, []byte("something else"), 0o600) },
		"the same length, a bit later": func(file string) error { return os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)) },
		"an older one put back":        func(file string) error { return os.Chtimes(file, time.Time{}, time.Now().Add(-time.Hour)) },
		"removed":                      os.Remove,
		"a temporary file renamed over it": func(file string) error {
			return errors.Join(os.WriteFile(file+"~", []byte("something else"), 0o600), os.Rename(file+"~", file))
		},
	} {
		root := t.TempDir()
		file := filepath.Join(root, "sub", "a.go")
		if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("package"), 0o600)); err != nil {
			t.Fatal(err)
		}
		ctx, end := edition(t.Context(), root, read(root))
		if err := save(file); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
		if got := context.Cause(ctx); got == nil || got.Error() != "sub/a.go" {
			t.Errorf("%s: the edition ends with %v", how, got)
		}
		end()
	}
	if got := (saved{[]string{"a", "b", "c", "d"}}).Error(); got != "4 files" {
		t.Errorf("many files are named: %s", got)
	}
}

func TestABurstOfSavesIsOne(t *testing.T) {
	t.Parallel()
	at := func(sizes ...int64) tree {
		now := tree{}
		for i, size := range sizes {
			now[fmt.Sprint("file", i)] = stamp{size: size}
		}
		return now
	}
	w := watcher{at(1, 1), at(1, 1)}
	for i, look := range []struct {
		now  tree
		want string
	}{
		{at(1, 1), ""},
		{at(2, 1), ""}, // the burst begins
		{at(3, 1), ""},
		{at(3, 1, 1), ""},
		{at(3, 1, 1), "file0, file2"}, // and is over
		{at(3, 1, 1), ""},
		{at(3, 2, 1), ""}, // a temporary file that comes and goes
		{at(3, 1, 1), ""},
		{at(3, 1, 1), ""},
	} {
		if got := (saved{w.look(look.now)}).Error(); got != look.want {
			t.Errorf("look %d finds %q, not %q", i, got, look.want)
		}
	}
}

func TestAMigrationThatIsNotWhatWasApplied(t *testing.T) {
	t.Parallel()
	p := place{root: t.TempDir(), data: t.TempDir()}
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(p.root, "migrations", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	note := func(want ...string) {
		t.Helper()
		got, err := p.noteMigrations()
		if err != nil || len(got) != len(want) {
			t.Fatalf("%v, %v; want %d warnings", got, err, len(want))
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) || !strings.Contains(got[i], "make reset") {
				t.Errorf("it says %q, and not %q and the way out", got[i], want[i])
			}
		}
	}
	write("migrations.go", "package migrations")
	write("x/0001_first.sql", "create table a")
	note()
	write("x/0002_second.sql", "create table b")
	write("migrations.go", "package migrations // more")
	note()
	write("x/0001_first.sql", "create table a (id int)")
	note("migrations/x/0001_first.sql is not what was applied")
	note("migrations/x/0001_first.sql is not what was applied") // as long as it is so
	if err := os.Remove(filepath.Join(p.root, "migrations/x/0002_second.sql")); err != nil {
		t.Fatal(err)
	}
	note("0001_first.sql is not what was applied", "0002_second.sql was applied")
	write("x/0001_first.sql", "create table a")
	write("x/0002_second.sql", "create table b")
	note()
}

func TestADoorLeadsToTheServerOfTheMoment(t *testing.T) {
	t.Parallel()
	d, err := openDoor("DOOR_ADDR", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.listener.Close()
	answer := make(chan string)
	ask := func() {
		conn, err := net.Dial("tcp", d.listener.Addr().String())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "question")
		_ = conn.(*net.TCPConn).CloseWrite() // the other half stays open for the answer
		text, _ := io.ReadAll(conn)
		answer <- string(text)
	}
	serve := func(name string) *net.TCPListener {
		listener, err := net.Listen("tcp", localhost(0))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				question, _ := io.ReadAll(conn)
				fmt.Fprintf(conn, "%s to %s", name, question)
				_ = conn.Close()
			}
		}()
		return listener.(*net.TCPListener)
	}

	go ask() // before there is a server
	time.Sleep(50 * time.Millisecond)
	one, two := serve("one"), serve("two")
	d.lead(one.Addr().String())
	if got := <-answer; got != "one to question" {
		t.Errorf("who came early hears %q", got)
	}
	_ = one.Close()
	go ask() // while it is away
	time.Sleep(50 * time.Millisecond)
	d.lead(two.Addr().String())
	if got := <-answer; got != "two to question" {
		t.Errorf("who came while the server was away hears %q", got)
	}
}

// Every checkout likes the same ports, and servers that start together must not take each other's.
func TestAPortIsGivenOnce(t *testing.T) {
	t.Parallel()
	port, err := freePort(0)
	if err != nil {
		t.Fatal(err)
	}
	first, err := freePort(port)
	second, err2 := freePort(port)
	runtime.GC() // which closes what nobody holds
	third, err3 := freePort(port)
	if err := errors.Join(err, err2, err3); err != nil || first != port || second == port || third == port {
		t.Errorf("%d is given to %d, %d and %d: %v", port, first, second, third, err)
	}
}

func TestAnyPortIsOneThatIsKnown(t *testing.T) {
	for _, name := range []string{"ONE_ADDR", "OTHER_ADDR"} {
		t.Setenv(name, "127.0.0.1:0")
	}
	d, err := openDoor("ONE_ADDR", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.listener.Close()
	if err := listenOn("OTHER_ADDR", 0); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ONE_ADDR", "OTHER_ADDR"} {
		if address := os.Getenv(name); strings.HasSuffix(address, ":0") {
			t.Errorf("%s=%s: nobody can be told where that is", name, address)
		}
	}
}

func TestDataForTestsGoWithTheirCheckout(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("a plain user's data lie in the checkout")
	}
	if err := ownFolder(shared); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	gone := filepath.Join(root, "gone")
	const inMemory = "*-memory" + forTests
	for _, c := range []struct {
		what, checkout, pattern string
		data, stays             bool
	}{
		{"data for tests", root, "*" + forTests, true, true},
		{"data for tests of a checkout that is gone", gone, "*" + forTests, true, false},
		{"data of a checkout that is away", gone, "*", true, true},
		{"a folder without data", gone, "*", false, false},
		{"a folder that waits for data", root, "*", false, true},
		{"data for tests in memory of a checkout that is gone", gone, inMemory, true, false},
	} {
		where := shared
		if c.pattern == inMemory {
			if where = memory(); where == "" {
				continue
			}
		}
		folder, err := os.MkdirTemp(where, c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(folder) })
		if c.data {
			err = os.Mkdir(filepath.Join(folder, "postgres"), 0o700)
		}
		if err := errors.Join(err, os.WriteFile(filepath.Join(folder, "checkout"), []byte(c.checkout), 0o600)); err != nil {
			t.Fatal(err)
		}
		forget()
		if _, err := os.Stat(folder); (err == nil) != c.stays {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestDataMayLieElsewhere(t *testing.T) {
	t.Parallel()
	root, elsewhereData := fake(t), t.TempDir()
	if err := launcher(root, append([]string{"LOCAL_DATA=" + elsewhereData}, elsewhere...), "true").Run(); err != nil {
		t.Fatal(err)
	}
	notes, _ := filepath.Glob(filepath.Join(elsewhereData, "*", "checkout"))
	if len(notes) != 1 {
		t.Fatalf("LOCAL_DATA has %v", notes)
	}
	if of, _ := os.ReadFile(notes[0]); filepath.Base(string(of)) != filepath.Base(root) {
		t.Errorf("the data of %s are said to be of %s", root, of)
	}
	if _, err := os.Stat(filepath.Join(root, ".local", "data")); !os.IsNotExist(err) {
		t.Errorf("there are data in the checkout as well: %v", err)
	}
}
