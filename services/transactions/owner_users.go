// only with users: this file

package transactions

import (
	"context"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/problem"
)

// checkOwner asks users whether somebody is there. Nobody there is a mistake in the request here.
func (m *Module) checkOwner(ctx context.Context, id uuid.UUID) error {
	resp, err := m.users.GetUserWithResponse(ctx, id)
	if err != nil || resp.JSON200 != nil {
		return err
	}
	if err := problem.FromPeer(resp.HTTPResponse, resp.Body); err.Kind != problem.NotFound {
		return err
	}
	return invalid("/owner_id", "unknown", "is nobody we know")
}
