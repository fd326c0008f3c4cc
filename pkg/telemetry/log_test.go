package telemetry_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/groundwork/pkg/telemetry"
)

// disk is one that can hang.
type disk struct {
	mu   sync.Mutex
	hung chan struct{}
	text strings.Builder
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	hung := d.hung
	d.mu.Unlock()
	if hung != nil {
		<-hung
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *disk) set(hung chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hung = hung
}

// lost is how many lines are said to be: more than once, where the first were lost before the writer came to hang.
func (d *disk) lost() (all int) {
	for _, after := range strings.Split(d.text.String(), `"lines of the log were lost","lines":`)[1:] {
		var n int
		_, _ = fmt.Sscan(after, &n)
		all += n
	}
	return all
}

func TestALogThatHangsHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	var d disk
	l := telemetry.NewLines(&d)
	say := func(from, to int) {
		for i := from; i < to; i++ {
			fmt.Fprintf(l, "line %d\n", i)
		}
	}
	say(0, 10)
	l.Flush(10 * time.Second)
	if n := strings.Count(d.text.String(), "\n"); n != 10 || !strings.HasPrefix(d.text.String(), "line 0\nline 1\n") {
		t.Errorf("it holds %q", d.text.String())
	}
	hung := make(chan struct{})
	d.set(hung)
	say(10, 10_010) // nobody waits, or this would not end
	l.Flush(50 * time.Millisecond)
	d.set(nil)
	close(hung)
	l.Flush(10 * time.Second)
	say(10_010, 10_011)
	l.Flush(10 * time.Second)
	lost := d.lost()
	if written := strings.Count(d.text.String(), "line "); lost < 1000 || written+lost != 10_011 || !strings.HasSuffix(d.text.String(), "line 10010\n") {
		t.Errorf("%d are written and %d are said to be lost", written, lost)
	}
}

// However long they are, lines that wait take no more than some megabytes.
func TestLinesThatWaitAreNotTooMuch(t *testing.T) {
	t.Parallel()
	hung := make(chan struct{})
	d := disk{hung: hung}
	l := telemetry.NewLines(&d)
	const each = 1 << 20
	for range 100 {
		fmt.Fprintln(l, strings.Repeat("x", each-1))
	}
	d.set(nil)
	close(hung)
	l.Flush(10 * time.Second)
	if written := strings.Count(d.text.String(), "x") / (each - 1); written != 16 || d.lost() != 84 {
		t.Errorf("%d of 100 MiB waited", written)
	}
	fmt.Fprintln(l, strings.Repeat("y", each-1))
	l.Flush(10 * time.Second)
	if !strings.Contains(d.text.String(), "y") {
		t.Error("what was written takes room still")
	}
}
