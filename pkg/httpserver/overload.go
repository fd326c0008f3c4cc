package httpserver

import (
	"context"
	"fmt"
	"math"
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
// where fewer are on their way: half as many take half as long when they wait for each other, and as long as before when they do not. So an answer
// may take three times what it takes alone, up to five times what is asked for; and now and then the limits are halved for a look, those of all
// operations of a module that send requests away: they wait for the same connections, and half of one of many would show nothing.
type Overload struct {
	within time.Duration // how long answers may take on average
	least  float64       // requests at once of an operation
	shed   metric.Int64Counter

	mu    sync.Mutex
	rooms map[string]*room // by module
}

const (
	startLimit = 256 // of an operation nothing is known about: enough for a burst on a program that has just started
	mostLimit  = 4096
	leastSeen  = 10                     // answers, before anything is made of them
	leastWhile = 250 * time.Millisecond // and how long to look
	leastStep  = 0.5                    // of the limit is left after one look, at least
	mostStep   = 2
	aloneTimes = 3           // as long as alone an answer may take,
	mostTimes  = 5           // and so many times as long as is asked for, at most
	tells      = 0.3         // more or fewer on their way show what waits
	every      = 10          // looks are followed by two at half of the limit
	forgotten  = time.Minute // in which nobody was sent away, and nothing is known any more

	lasts       = 3               // times as long as an answer takes a look lasts, whatever pauses are in it
	longestLook = 6 * time.Second // at the most
)

// NewOverload makes one for a process: answers of an operation may take within on average before fewer of its requests are let in, but never fewer
// than least, which is as many as can be worked on at once. Its metrics are http.server.limit and http.server.limit.in_flight by operation, and
// http.server.shed, the requests that were sent away.
func NewOverload(within time.Duration, least int) (*Overload, error) {
	o := &Overload{within: within, least: float64(least), rooms: map[string]*room{}}
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
		now := time.Now()
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, r := range o.rooms {
			r.mu.Lock()
			for _, l := range r.loads {
				observer.ObserveInt64(limit, int64(l.now(now)), l.labels)
				observer.ObserveInt64(inFlight, int64(l.in), l.labels)
			}
			r.mu.Unlock()
		}
		return nil
	}, limit, inFlight)
	return o, err
}

// room is what the operations of a module share.
type room struct {
	mu       sync.Mutex // of the loads, too
	loads    []*load
	crowd    int       // on their way of those that send requests away
	least    float64   // at once, of each operation that sends requests away
	from, to time.Time // the last look at half of the limits
}

// load is what is on its way of one operation.
type load struct {
	*room
	of     *Overload
	labels metric.MeasurementOption

	limit float64
	in    int
	last  time.Time // somebody was sent away

	since  time.Time     // what follows is of requests that came after this; those from before say nothing about the limit as it is
	seen   int           // answers
	took   time.Duration // they together
	own    int           // requests of the operation that were on their way when theirs came, together
	beside int           // with those of others that send some away
	failed int           // answers that say: not now
	full   bool          // somebody was sent away
	most   int           // that were on their way

	hot    bool          // somebody was sent away during the last look,
	lasted time.Duration // which took so long,
	before look          // the last one
	alone  float64       // seconds that an answer takes when nobody waits
}

// look is how many were on their way when a request came, and how many seconds its answer took.
type look struct{ beside, took float64 }

// alone is the line through two looks, where nobody is on the way.
func (l look) alone(other look) float64 {
	each := (l.took - other.took) / (l.beside - other.beside)
	return max(0, min(l.took-each*l.beside, l.took, other.took))
}

func (l look) differs(other look) bool {
	return math.Abs(l.beside-other.beside) >= tells*max(l.beside, other.beside)
}

func (o *Overload) watch(module, method, route string) *load {
	l := &load{of: o, labels: metric.WithAttributeSet(attribute.NewSet(
		attribute.String("module", module), attribute.String("http.request.method", method), attribute.String("http.route", route)))}
	l.forget(time.Now())
	o.shed.Add(context.Background(), 0, l.labels) // that there was none is known as well
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.rooms[module] == nil {
		o.rooms[module] = &room{least: o.least}
	}
	l.room = o.rooms[module]
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	l.room.loads = append(l.room.loads, l)
	return l
}

// forget makes an operation one that nothing is known about.
func (l *load) forget(now time.Time) {
	l.limit, l.last = max(startLimit, l.of.least), now
	l.hot, l.before, l.alone = false, look{}, 0 // it has none on their way
	l.begin(now)
}

// begin begins a look.
func (l *load) begin(now time.Time) {
	l.since, l.seen, l.took, l.beside, l.own, l.failed, l.full, l.most = now, 0, 0, 0, 0, 0, false, l.in
}

// now is the limit at a time.
func (l *load) now(now time.Time) float64 {
	if l.hot && now.Before(l.to) {
		return max(l.least, l.limit/2)
	}
	return max(l.least, l.limit)
}

// enter lets a request in, which calls leave when it is answered, or says that there are too many. Whether it failed is said with leave: that it
// could not be done now, since it has waited for too long or something was not there.
func (l *load) enter(ctx context.Context) (leave func(failed bool), err error) {
	if l == nil {
		return func(bool) {}, nil
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in == 0 && now.Sub(l.last) > forgotten {
		l.forget(now)
	}
	if l.in >= int(l.now(now)) {
		l.full, l.last = true, now
		l.of.shed.Add(ctx, 1, l.labels)
		return nil, problem.Unavailable.New("overloaded", "There is more to do than can be done; try again in a moment.").After(time.Second).
			Because(fmt.Errorf("%d of these are on their way", l.in))
	}
	l.in++
	if l.hot {
		l.crowd++
	}
	l.most = max(l.most, l.in)
	own, beside := l.in, l.crowd // halving the limits changes nothing but these
	if !l.hot {
		beside += l.in
	}
	return func(failed bool) { l.left(now, own, beside, failed) }, nil
}

func (l *load) left(entered time.Time, own, beside int, failed bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.in--
	if l.hot {
		l.crowd--
	}
	if entered.Before(l.since) {
		return
	}
	l.seen++
	l.took += now.Sub(entered)
	l.own += own
	l.beside += beside
	if failed {
		l.failed++
	}
	if l.seen >= max(leastSeen, l.most/2) && now.Sub(l.since) >= leastWhile {
		l.learn(now)
	}
}

// learn ends a look: the limit becomes what it should have been.
func (l *load) learn(now time.Time) {
	seen := float64(l.seen)
	own := float64(l.own) / seen
	this, failing := look{float64(l.beside) / seen, l.took.Seconds() / seen}, 10*l.failed > l.seen
	// What gave up may have waited for what others have.
	halved, full, used := l.halved(now), l.full, 2*l.most >= int(l.limit) || failing
	same := full == l.hot // both looks count the same
	switch {
	case full && !l.hot:
		l.crowd += l.in
	case !full && l.hot:
		l.crowd -= l.in
	}
	l.hot, l.lasted = full, min(now.Sub(l.since), time.Duration(lasts*this.took*float64(time.Second))+leastWhile, longestLook)
	l.begin(now)
	if failing { // who gave up has not waited for as long as it takes
		l.before, l.alone = look{}, 0
	} else {
		if same && l.before.took > 0 && this.differs(l.before) {
			// Where some wait and some do not the line is bent, and ends too low.
			if alone := this.alone(l.before); alone > l.alone {
				l.alone += (alone - l.alone) / 2
			} else {
				l.alone += (alone - l.alone) / 4
			}
		}
		l.before = this
	}
	l.share(now, l.of.least)
	if 3*halved > l.lasted { // the limit was another one
		return
	}
	within := l.of.within.Seconds()
	may := max(within, min(aloneTimes*l.alone, mostTimes*within))
	step := may / this.took
	// Of those that are on their way so many are right.
	right := min(max(own*step, leastStep*l.limit), mostStep*l.limit)
	switch {
	case step < 1 && used: // else they are slow, and not because of each other
		l.limit = max(l.least, min(l.limit, right))
	case step < 1:
	case full && !failing:
		l.limit = min(mostLimit, max(l.limit, right))
	case l.limit < startLimit: // what made it smaller is over
		l.limit = min(startLimit, l.limit*min(step, mostStep))
	}
}

// halved is for how much of the look limits were half.
func (l *load) halved(now time.Time) time.Duration {
	begin, end := l.since, now
	if l.from.After(begin) {
		begin = l.from
	}
	if l.to.Before(end) {
		end = l.to
	}
	return end.Sub(begin)
}

// share gives all operations that send requests away together twice as many places as can be worked on, at the least; and begins a look at half of
// their limits when the last one is long enough ago, for as long as the slowest of them needs.
func (r *room) share(now time.Time, least float64) {
	var longest time.Duration
	hot := 0
	for _, l := range r.loads {
		if l.hot && now.Sub(l.last) < longestLook { // else nobody comes any more
			hot++
			longest = max(longest, l.lasted)
		}
	}
	r.least = max(1, min(least, 2*least/float64(max(1, hot))))
	if hot > 0 && now.Sub(r.to) > every*longest {
		r.from, r.to = now, now.Add(2*longest)
	}
}
