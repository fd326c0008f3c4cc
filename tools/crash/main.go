// only with auth, users, transactions: this file

// Command crash proves on real processes that no payment is lost and none is made twice. Two instances of the program share a Postgres of their
// own behind a balancer; clients post payments, each under a key of its own, and ask again with the same key until there is an answer. Meanwhile
// instances, Postgres and its sessions are killed at random. In the end every answer is held against the database. `make crash` builds what it
// needs; it runs on Linux, beside a Postgres that it asks where the programs are.
//
//	crash PROGRAM
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	lasts := flag.Duration("for", time.Minute, "how long there is trouble")
	clients := flag.Int("clients", 16, "how many pay at a time")
	flag.Parse()
	err := errors.New("name the program: make crash")
	if flag.NArg() == 1 {
		err = run(ctx, flag.Arg(0), *lasts, *clients, os.Stdout)
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

// run makes a world, lets it suffer, and returns an error when not everything is as it was answered.
func run(ctx context.Context, program string, lasts time.Duration, clients int, out io.Writer) (err error) {
	w, err := newWorld(ctx, program)
	defer func() { err = errors.Join(err, w.close()) }()
	if err != nil {
		return err
	}
	said, err := w.suffer(ctx, lasts, clients)
	if err != nil {
		return err
	}
	is, err := w.look(ctx)
	if err != nil {
		return err
	}
	broken, err := w.integrity(ctx)
	if err != nil {
		return err
	}
	v := judge(said, is)
	tell(out, w, said, v, broken)
	if v.bad()+len(broken) > 0 {
		w.complain(os.Stderr)
		return errors.New("the ledger is not what was answered")
	}
	return nil
}

func tell(out io.Writer, w *world, said []said, v verdict, broken []string) {
	kinds, codes, acknowledged, refused := map[string]int{}, map[string]int{}, 0, 0
	for _, s := range said {
		switch {
		case s.done:
			kinds[s.kind]++
			acknowledged++
		case s.answered:
			codes[s.code]++
			refused++
		}
	}
	n := &w.counts
	fmt.Fprintf(out, "sent         %d requests for %d things, %d pairs of them to both instances at once\n", n.sent.Load(), len(said), n.twice.Load())
	fmt.Fprintf(out, "asked again  %d times: %v\n", n.again.Load(), w.why)
	fmt.Fprintf(out, "acknowledged %d: %v\nrefused      %d: %v\n", acknowledged, kinds, refused, codes)
	fmt.Fprintf(out, "kill -9      of an instance %d, of Postgres %d, of one of its sessions %d; sessions terminated %d; instances that ended by themselves %d\n",
		n.instances.Load(), n.postgres.Load(), n.backends.Load(), n.terminated.Load(), n.ended.Load())
	for _, bad := range []struct {
		name  string
		found []string
	}{{"lost", v.Lost}, {"doubled", v.Doubled}, {"balances that differ", v.Differ}, {"without an answer", v.Unanswered}, {"invariants broken", broken}} {
		fmt.Fprintf(out, "%s: %d\n", bad.name, len(bad.found))
		for _, example := range bad.found[:min(len(bad.found), 10)] {
			fmt.Fprintln(out, "   ", example)
		}
	}
}
