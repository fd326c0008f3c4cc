package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	logFile  = "server.log" // and server.log.1, the one before
	logLimit = 10 << 20     // bytes of each
)

// serverLog takes what the server says: a file has it as it is, one JSON object a line, and the terminal as people read it.
type serverLog struct {
	path string
	out  io.Writer
	mu   sync.Mutex
	file *os.File
	size int64
}

// openLog begins a new file; the one of the last run stays beside it.
func openLog(path string, out io.Writer) (*serverLog, error) {
	l := &serverLog{path: path, out: out}
	return l, l.next()
}

// next puts a new file in the place of the one that is written. Whoever reads takes an unlocked file for the last: so the new one is locked before it
// can be found, and the old one stays locked until then.
func (l *serverLog) next() error {
	file, err := os.OpenFile(l.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if err := flock(file, syscall.LOCK_EX); err != nil {
		return errors.Join(err, file.Close())
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil && !os.IsNotExist(err) {
		return errors.Join(err, file.Close())
	}
	if err := os.Rename(file.Name(), l.path); err != nil {
		return errors.Join(err, file.Close())
	}
	if l.file != nil {
		_ = l.file.Close()
	}
	l.file, l.size = file, 0
	return nil
}

func (l *serverLog) line(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > logLimit {
		if err := l.next(); err != nil {
			say("the log: %v", err)
		}
	}
	n, _ := l.file.Write(line)
	l.size += int64(n)
	_, _ = l.out.Write(readable(line))
}

// Writer is for one process. What it says arrives in pieces, and two servers may speak at once.
func (l *serverLog) Writer() io.Writer { return &lines{each: l.line} }

// lines hands on whole lines.
type lines struct {
	each func([]byte)
	rest []byte
}

func (w *lines) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		n := bytes.IndexByte(w.rest, '\n')
		if n < 0 {
			return len(p), nil
		}
		w.each(w.rest[:n+1])
		w.rest = w.rest[n+1:]
	}
}

// readable writes a record of the log for people: time, level and message, then what it has to say. Anything else stays as it is.
// What only a machine needs (ids of traces, values that are empty, the tail of a long list) is in the file.
func readable(line []byte) []byte {
	fields := json.NewDecoder(bytes.NewReader(line))
	if start, err := fields.Token(); err != nil || start != json.Delim('{') {
		return line
	}
	head, rest := map[string]string{}, strings.Builder{}
	for fields.More() {
		name, err := fields.Token()
		var raw json.RawMessage
		if err != nil || fields.Decode(&raw) != nil {
			return line
		}
		value := string(raw)
		_ = json.Unmarshal(raw, &value) // a text, without its quotes
		switch name {
		case "time", "level", "msg":
			head[fmt.Sprint(name)] = value
		case "trace_id", "span_id":
		default:
			if value != "" {
				fmt.Fprintf(&rest, "  %s=%s", name, value)
			}
		}
	}
	at, err := time.Parse(time.RFC3339Nano, head["time"])
	if err != nil {
		return line
	}
	const width = 240 // three lines of a terminal
	what := rest.String()
	if head["level"] == "INFO" && len(what) > width {
		what = strings.ToValidUTF8(what[:width], "") + " …"
	}
	return fmt.Appendf(nil, "%s %-5s %s%s\n", at.Local().Format("15:04:05.000"), head["level"], head["msg"], what)
}

// follow is `make logs`: the end of the log, and then what comes, as long as a server runs.
func follow(ctx context.Context, out io.Writer) error {
	p, err := locate(false)
	if err != nil {
		return err
	}
	file, err := os.Open(p.in(logFile))
	if os.IsNotExist(err) {
		return errors.New("there is no log yet: `make dev` or `make run` starts a server")
	} else if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	const end = 20_000 // bytes; about a hundred lines
	at, err := file.Seek(-end, io.SeekEnd)
	within := err == nil && at > 0
	show := &lines{each: func(line []byte) {
		if !within { // the first one may be half a line
			_, _ = out.Write(readable(line))
		}
		within = false
	}}
	for {
		over := flock(file, syscall.LOCK_SH|syscall.LOCK_NB) == nil // whoever writes it has it locked
		if _, err := io.Copy(show, file); err != nil {
			return err
		}
		now, err := os.Stat(p.in(logFile))
		switch {
		case err == nil && !same(file, now):
			_ = file.Close()
			if file, err = os.Open(p.in(logFile)); err != nil {
				return err
			}
			continue
		case over:
			say("no server is running; this was the end of the last one's log. `make dev` or `make run` starts one")
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func same(file *os.File, other os.FileInfo) bool {
	info, err := file.Stat()
	return err == nil && os.SameFile(info, other)
}
