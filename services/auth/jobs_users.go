// only with users: this file

package auth

import (
	"context"
	"fmt"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/problem"
)

type provisionArgs struct {
	Identity uuid.UUID `json:"identity"`
}

// Kind names the job in the queue.
func (provisionArgs) Kind() string { return "provision-profile" }

// provision tells users of an identity as it is now. Users ignores an older version that arrives late.
type provision struct {
	river.WorkerDefaults[provisionArgs]
	m *Module
}

// Work calls users until it takes it.
func (w *provision) Work(ctx context.Context, job *river.Job[provisionArgs]) error {
	i, err := w.m.store.identity(ctx, job.Args.Identity)
	if err != nil {
		return err
	}
	email, err := w.m.openAddress(ctx, i)
	if err != nil {
		return err
	}
	resp, err := w.m.users.ProvisionUserWithResponse(ctx, i.ID, usersv1.Provision{
		Email: email, AuthVersion: i.Version, Status: new(usersv1.ProvisionStatus(i.Status)),
	})
	if err != nil {
		return fmt.Errorf("users: %w", err)
	}
	return problem.NoContent(resp.HTTPResponse, resp.Body, nil)
}
