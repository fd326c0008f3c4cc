package httpserver

import (
	"cmp"
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// atOnce is how many requests of an operation are worked on at most. What they wait for has a line of its own, which sends them away before it
// is too long: this is for an operation that hangs for a reason nobody thought of, which then takes no more memory than so many do.
const atOnce = 4096

// door is where an operation's requests come in, when they are complete and their caller may call it. Its metric is http.server.shed, the requests
// that were sent away because there was more to do than could be done, here or further inside.
type door struct {
	most   int64
	in     atomic.Int64
	shed   metric.Int64Counter
	labels metric.MeasurementOption
}

func newDoor(module, method, route string, most int) (*door, error) {
	shed, err := otel.Meter("example.com/groundwork/pkg/httpserver").Int64Counter("http.server.shed",
		metric.WithDescription("Requests that were sent away because there was more to do than could be done."))
	if err != nil {
		return nil, err
	}
	d := &door{most: int64(cmp.Or(most, atOnce)), shed: shed, labels: metric.WithAttributeSet(attribute.NewSet(
		attribute.String("module", module), attribute.String("http.request.method", method), attribute.String("http.route", route)))}
	d.shed.Add(context.Background(), 0, d.labels) // that there was none is known as well
	return d, nil
}

// answer has a request answered, or sends it away.
func (d *door) answer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	defer func() {
		d.in.Add(-1)
		if request.From(r.Context()).Code == "overloaded" {
			d.shed.Add(r.Context(), 1, d.labels)
		}
	}()
	if d.in.Add(1) > d.most {
		problem.Write(w, r, problem.Unavailable.New("overloaded", "There is more to do than can be done; try again in a moment.").After(time.Second))
		return
	}
	ctx := r.Context()
	if authn.From(ctx).Kind() != "module" { // which asks for somebody whose request has begun, or for a job
		ctx = request.Unbegun(ctx)
	}
	next.ServeHTTP(w, r.WithContext(ctx))
}
