// only with auth, users, transactions: this file

package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// suffer has clients pay while there is trouble, ends the trouble, and returns what they were answered.
func (w *world) suffer(ctx context.Context, lasts time.Duration, clients int) ([]said, error) {
	calm, over := make(chan struct{}), make(chan struct{})
	all := w.filled
	var mu sync.Mutex
	var paying sync.WaitGroup
	for i := range clients {
		c := newClient(w, i)
		c.calm, c.over = calm, over
		paying.Go(func() {
			said := c.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, said...)
		})
	}
	trouble, end := context.WithTimeout(ctx, lasts)
	defer end()
	var makers sync.WaitGroup
	for _, p := range w.instances {
		makers.Go(func() { every(trouble, 5*time.Second, func() { w.killInstance(p) }) })
	}
	makers.Go(func() { every(trouble, 6*time.Second, func() { w.killPostgres(ctx) }) })
	makers.Go(func() { every(trouble, 8*time.Second, func() { w.endSessions(trouble, false) }) })
	makers.Go(func() { every(trouble, 700*time.Millisecond, func() { w.endSessions(trouble, true) }) })
	makers.Wait()
	err := w.postgres.up(ctx)
	for _, p := range w.instances {
		if err == nil {
			err = p.start()
		}
	}
	close(calm)
	timer := time.AfterFunc(patience, func() { close(over) })
	defer timer.Stop()
	paying.Wait()
	if err == nil {
		err = w.ready(ctx)
	}
	return all, err
}

// every does something at random times, so far apart on average, until ctx ends.
func every(ctx context.Context, apart time.Duration, do func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(rand.N(2 * apart)):
			do()
		}
	}
}

// killInstance kills an instance, and starts it again after a moment, as whoever runs it would.
func (w *world) killInstance(p *process) {
	if p.kill() {
		w.counts.instances.Add(1)
	}
	time.Sleep(rand.N(time.Second))
	_ = p.start()
}

func (w *world) killPostgres(ctx context.Context) {
	if w.postgres.kill() {
		w.counts.postgres.Add(1)
	}
	time.Sleep(rand.N(time.Second))
	_ = w.postgres.up(ctx)
}

// endSessions ends a few sessions of the program: politely, as an operator does, or by killing one, upon which Postgres ends all the others and
// reads its log.
func (w *world) endSessions(ctx context.Context, politely bool) {
	conn, err := pgx.Connect(ctx, w.postgres.admin)
	if err != nil {
		return // it is being killed itself
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, _ := conn.Query(ctx, `
		select pid from pg_stat_activity where usename = 'groundwork_transactions' order by state = 'active' desc, random() limit $1`, 1+rand.N(3))
	pids, _ := pgx.CollectRows(rows, pgx.RowTo[int])
	for _, pid := range pids {
		switch {
		case politely:
			var ended bool
			if err := conn.QueryRow(ctx, `select pg_terminate_backend($1)`, pid).Scan(&ended); err == nil && ended {
				w.counts.terminated.Add(1)
			}
		case syscall.Kill(pid, syscall.SIGKILL) == nil:
			w.counts.backends.Add(1)
			return
		}
	}
}
