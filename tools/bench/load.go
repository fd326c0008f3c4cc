// only with auth, users, transactions: this file

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// load is many connections that each send one request after the other, as bytes that are ready but for a few: the loader shares its processors
// with what it measures, so it must cost next to nothing.
type load struct {
	address string
	clients int
	request func(client, n int, buf []byte) []byte // appends the n-th request of a client
	want    string                                 // the status of each answer
	body    func(client int, body []byte)          // is shown each answer's body, where the next request needs something of it; nil: nobody is
}

// result is how many requests were answered, and how long each took.
type result struct {
	took  time.Duration
	times []time.Duration // sorted
}

func (r result) rate() float64 { return float64(len(r.times)) / r.took.Seconds() }

// at is the time within which a share of the requests was answered.
func (r result) at(share float64) time.Duration {
	if len(r.times) == 0 {
		return 0
	}
	return r.times[min(len(r.times)-1, int(share*float64(len(r.times))))]
}

// run sends for a while, and counts what was answered after the warm-up.
func (l load) run(measured time.Duration) (result, error) {
	begin := time.Now().Add(warmUp)
	end := begin.Add(measured)
	var mu sync.Mutex
	var all []time.Duration
	var failed error
	var clients sync.WaitGroup
	for c := range l.clients {
		clients.Go(func() {
			times, err := l.client(c, begin, end)
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, times...), errors.Join(failed, err)
		})
	}
	clients.Wait()
	slices.Sort(all)
	return result{measured, all}, failed
}

func (l load) client(c int, begin, end time.Time) (times []time.Duration, err error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers, buf := bufio.NewReaderSize(conn, 16<<10), make([]byte, 0, 4<<10)
	for n := 0; ; n++ {
		buf = l.request(c, n, buf[:0])
		sent := time.Now()
		if sent.After(end) {
			return times, nil
		}
		if _, err := conn.Write(buf); err != nil {
			return nil, err
		}
		if err := l.answer(c, answers); err != nil {
			return nil, err
		}
		if done := time.Now(); sent.After(begin) && done.Before(end) {
			times = append(times, done.Sub(sent))
		}
	}
}

var contentLength, chunked = []byte("Content-Length: "), []byte("Transfer-Encoding: chunked")

func skipChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return err
		}
		if _, err := r.Discard(int(n) + 2); err != nil || n == 0 {
			return err
		}
	}
}

// answer reads one answer and is done with it.
func (l load) answer(client int, r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok, first := len(line) > 12 && string(line[9:12]) == l.want, string(line)
	length, chunks := 0, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if value, is := bytes.CutPrefix(line, contentLength); is {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
		chunks = chunks || bytes.HasPrefix(line, chunked)
	}
	if ok && l.body != nil && !chunks {
		body := make([]byte, length)
		_, err := io.ReadFull(r, body)
		l.body(client, body)
		return err
	}
	if ok && chunks {
		return skipChunks(r)
	}
	if !ok {
		body, _ := io.ReadAll(io.LimitReader(r, int64(length)))
		return fmt.Errorf("%s%s", first, body)
	}
	_, err = r.Discard(length)
	return err
}
