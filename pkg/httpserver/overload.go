package httpserver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/groundwork/pkg/problem"
)

// Overload holds each operation to as many requests at once as are answered in time, and sends the others away at once: what more there is could
// only wait, until nobody is answered in time. It needs no number for what the machine, the database or a peer can carry, since it sees how
// long answers take: by Little's law as many are on their way as arrive in a second times how long each takes, so a limit that is multiplied by
// (how long they may take) ÷ (how long they take) is the one at which they take just that. One slow operation takes nothing from another.
//
// What takes long by itself, whoever else is there, does not wait, and sending some of it away would only do less. Which of both it is shows
// where the limit changes: half as many take half as long when they wait for each other, and as long as before when they do not. So an answer
// may take three times what it takes alone, up to five times what is asked for; and the limit is halved for a look now and then.
type Overload struct {
	within time.Duration // how long answers may take on average
	least  float64       // requests at once of an operation
	shed   metric.Int64Counter

	mu  sync.Mutex
	all []*load
}

const (
	startLimit = 256 // of an operation nothing is known about: enough for a burst on a program that has just started
	mostLimit  = 4096
	leastSeen  = 10                     // answers, before anything is made of them
	leastWhile = 250 * time.Millisecond // and how long to look
	leastStep  = 0.5                    // of the limit is left after one look, at least
	mostStep   = 2
	aloneTimes = 3   // as long as alone an answer may take,
	mostTimes  = 5   // and so many times as long as is asked for, at most
	tells      = 0.2 // of a limit's change shows what waits
	every      = 10  // looks are followed by one at half of the limit
)

// NewOverload makes one for a process: answers of an operation may take within on average before fewer of its requests are let in, but never fewer
// than least, which is as many as can be worked on at once. Its metrics are http.server.limit and http.server.limit.in_flight by operation, and
// http.server.shed, the requests that were sent away.
func NewOverload(within time.Duration, least int) (*Overload, error) {
	o := &Overload{within: within, least: float64(least)}
	meter := otel.Meter("example.com/groundwork/pkg/httpserver")
	var err error
	if o.shed, err = meter.Int64Counter("http.server.shed", metric.WithDescription("Requests that were sent away because more than the limit were on their way.")); err != nil {
		return nil, err
	}
	limit, err := meter.Int64ObservableGauge("http.server.limit", metric.WithDescription("How many requests of the operation may be on their way at once, as it is now."))
	if err != nil {
		return nil, err
	}
	inFlight, err := meter.Int64ObservableGauge("http.server.limit.in_flight", metric.WithDescription("How many are on their way."))
	if err != nil {
		return nil, err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, observer metric.Observer) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, l := range o.all {
			l.mu.Lock()
			now, in := l.limit, l.in
			l.mu.Unlock()
			observer.ObserveInt64(limit, int64(now), l.labels)
			observer.ObserveInt64(inFlight, int64(in), l.labels)
		}
		return nil
	}, limit, inFlight)
	return o, err
}

// load is what is on its way of one operation.
type load struct {
	of     *Overload
	labels metric.MeasurementOption

	mu    sync.Mutex
	limit float64
	in    int
	since time.Time     // the limit is what it is; requests from before say nothing about it
	seen  int           // answers since then
	took  time.Duration // they together
	full  bool          // somebody was sent away since then
	most  int           // that were on their way since then

	looks  int
	before look    // the last one at which it was full,
	steady bool    // which shows what it is like in the long run
	alone  float64 // seconds that an answer takes when nobody waits
	halved float64 // the limit that is to be again after this look; else 0
}

// look is how many were on their way, and how many seconds each took.
type look struct{ limit, took float64 }

// alone is the line through two looks: what an answer takes alone is where nobody is on the way.
func (l look) alone(other look) float64 {
	each := (l.took - other.took) / (l.limit - other.limit)
	return max(0, l.took-each*l.limit)
}

func (o *Overload) watch(module, method, route string) *load {
	l := &load{of: o, limit: max(startLimit, o.least), since: time.Now(), labels: metric.WithAttributeSet(attribute.NewSet(
		attribute.String("module", module), attribute.String("http.request.method", method), attribute.String("http.route", route)))}
	o.shed.Add(context.Background(), 0, l.labels) // that there was none is known as well
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, l)
	return l
}

// enter lets a request in, which calls leave when it is answered, or says that there are too many.
func (l *load) enter(ctx context.Context) (leave func(), err error) {
	if l == nil {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in >= int(l.limit) {
		l.full = true
		l.of.shed.Add(ctx, 1, l.labels)
		return nil, problem.Unavailable.New("overloaded", "There is more to do than can be done; try again in a moment.").After(time.Second).
			Because(fmt.Errorf("%d of these are on their way", l.in))
	}
	l.in++
	l.most = max(l.most, l.in)
	entered := time.Now()
	return func() { l.left(entered, time.Now()) }, nil
}

func (l *load) left(entered, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in--
	if entered.Before(l.since) {
		return
	}
	l.seen++
	l.took += now.Sub(entered)
	if l.seen < leastSeen || now.Sub(l.since) < leastWhile {
		return
	}
	this := look{l.limit, l.took.Seconds() / float64(l.seen)}
	full, used := l.full, 2*l.most >= int(l.limit)
	l.since, l.seen, l.took, l.full, l.most = now, 0, 0, false, l.in
	if full {
		if l.steady && this.limit <= (1-tells)*l.before.limit {
			l.alone = this.alone(l.before)
		}
		// Where more were let in the queue is not yet as long as it will be, and shorter at once where fewer are.
		l.steady, l.before = this.limit <= (1+tells)*l.before.limit, this
	}
	if l.halved > 0 {
		l.limit, l.halved = l.halved, 0
		return
	}
	within := l.of.within.Seconds()
	switch step := max(within, min(aloneTimes*l.alone, mostTimes*within)) / this.took; {
	case step < 1 && !used: // they are slow, and not because of each other
	case step < 1:
		l.limit = max(l.of.least, l.limit*max(step, leastStep))
	case full && l.steady: // else nobody knows what more of them would take
		l.limit = min(mostLimit, l.limit*min(step, mostStep))
	case !full && l.limit < startLimit: // what made it smaller is over
		l.limit = min(startLimit, l.limit*min(step, mostStep))
	}
	if l.looks++; full && l.looks >= every {
		l.looks, l.halved, l.limit = 0, l.limit, max(l.of.least, l.limit/2)
	}
}
