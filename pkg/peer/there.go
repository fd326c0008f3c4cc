package peer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	mostAnswer  = 32 << 20               // bytes
	callsAtOnce = 64                     // to one module; more would only wait where it is slow
	placeWait   = time.Second            // for one of these places
	tries       = 3                      // of a call that may be repeated and got no answer
	pause       = 50 * time.Millisecond  // before the second one, give or take half; twice as long before the third
	longest     = 500 * time.Millisecond // such a pause
	failures    = 5                      // of the last calls that got no answer,
	ofCalls     = 10                     // so many, and nobody calls any more,
	rest        = time.Second            // but for one call after this time, by which it is seen that the module is back
)

// there is a module that answers elsewhere. It may be away, or slow, and then only those who need it notice: a call without an answer is tried
// again when it may be, a module that gives none is left alone for a second, and no more than so many wait for it.
type there struct {
	name        string
	address     *url.URL
	wire        http.RoundTripper
	once, again failsafe.Executor[int] // whose results are statuses
	past        failsafe.Executor[int] // the breaker
}

func newThere(name string, address *url.URL, wire http.RoundTripper) *there {
	// Whoever leaves says nothing about the module, nor does a lack of places; whose time is up does.
	unanswered := func(status int, err error) bool {
		return err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, bulkhead.ErrFull) || slices.Contains(fromGateways, status)
	}
	breaker := circuitbreaker.NewBuilder[int]().HandleIf(unanswered).
		WithFailureThresholdRatio(failures, ofCalls).WithDelay(rest).WithSuccessThreshold(1).Build()
	places := bulkhead.NewBuilder[int](callsAtOnce).WithMaxWaitTime(placeWait).Build()
	retry := retrypolicy.NewBuilder[int]().
		HandleIf(func(_ int, err error) bool { return err != nil }).
		AbortOnErrors(context.Canceled, context.DeadlineExceeded, circuitbreaker.ErrOpen, bulkhead.ErrFull).
		WithMaxAttempts(tries).WithBackoff(pause, longest).WithJitterFactor(0.5).ReturnLastFailure().Build()
	meter := otel.Meter("example.com/groundwork/pkg/peer")
	_, _ = meter.Int64ObservableGauge("peer.left.alone", metric.WithDescription("1 while a module elsewhere is not called, because it does not answer."), // a constant name
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			var open int64
			if !breaker.IsClosed() {
				open = 1
			}
			o.Observe(open, metric.WithAttributes(attribute.String("peer", name)))
			return nil
		}))
	return &there{name, address, wire, failsafe.With[int](breaker, places), failsafe.With[int](retry, breaker, places), failsafe.With[int](places)}
}

// fromGateways are the answers of what stands before a module that gives none.
var fromGateways = []int{http.StatusBadGateway, http.StatusGatewayTimeout}

// repeatable reports whether a request does no more when it arrives twice (RFC 9110, section 9.2.2, and our own keys).
func repeatable(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
	default:
		if r.Header.Get("Idempotency-Key") == "" {
			return false
		}
	}
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

// RoundTrip sends a request, which is the caller's own copy, to the module.
func (t *there) RoundTrip(r *http.Request) (*http.Response, error) {
	how := t.once
	switch {
	case r.URL.Path == "/livez": // that it lives does not say that it does what it is there for
		how = t.past
	case repeatable(r):
		how = t.again
	}
	r.URL.Scheme, r.URL.Host, r.Host = t.address.Scheme, t.address.Host, t.address.Host
	if r.URL.RawPath != "" {
		r.URL.RawPath = strings.TrimSuffix(t.address.EscapedPath(), "/") + r.URL.RawPath
	}
	r.URL.Path = strings.TrimSuffix(t.address.Path, "/") + r.URL.Path
	if r.Body != nil {
		defer r.Body.Close() // also of what is not sent
	}
	var resp *http.Response
	_, err := how.WithContext(r.Context()).GetWithExecution(func(e failsafe.Execution[int]) (status int, err error) {
		if e.IsRetry() && r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return 0, err
			}
		}
		resp, err = t.whole(r) //nolint:bodyclose // it is read already
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, nil
	})
	if err != nil && r.Context().Err() == nil {
		err = away(t.name).Because(err)
	}
	if resp != nil {
		resp.Request.URL.Host = t.name // for messages: the module's name, not an address
	}
	return resp, err
}

// whole sends a request and reads all of its answer: a module that stops in the middle has not answered, and its place is taken until then.
func (t *there) whole(r *http.Request) (*http.Response, error) {
	resp, err := t.wire.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostAnswer+1))
	if err == nil && len(body) > mostAnswer {
		err = errors.New("an answer larger than any of ours")
	}
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}
