package auth

import (
	"context"
	"time"

	"example.com/groundwork/pkg/authn"
)

// tellEvery is how often what was revoked lately is published: all of it again and again, so that neither a crash nor a Redis that was
// flushed makes anybody forget.
const tellEvery = time.Second

// tell publishes what was revoked in the last minutes. This process knows it in any case. What fails is tried again a second later, and every
// process says by its own metric how old its knowledge is.
func (m *Module) tell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellEvery)
	defer cancel()
	list, err := m.store.revocations(ctx)
	if err != nil {
		return
	}
	m.verifier.Revoked.Add(list, time.Now())
	_ = authn.Publish(ctx, m.redis, list, time.Now())
}
