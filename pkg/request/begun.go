package request

import (
	"context"
	"sync/atomic"
)

type begunKey struct{}

// Unbegun returns a context of a request for which nothing has been done: until Begin it may be sent away, and nothing is lost by it.
func Unbegun(ctx context.Context) context.Context {
	return context.WithValue(ctx, begunKey{}, new(atomic.Bool))
}

// Begin says that something is done for the request now, which is lost if it is not finished.
func Begin(ctx context.Context) {
	if begun, ok := ctx.Value(begunKey{}).(*atomic.Bool); ok {
		begun.Store(true)
	}
}

// Begun reports whether something has been done for the request; outside of one there is nothing that may be sent away.
func Begun(ctx context.Context) bool {
	begun, ok := ctx.Value(begunKey{}).(*atomic.Bool)
	return !ok || begun.Load()
}
