package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	authv1 "example.com/groundwork/api/auth/v1"
	authv2 "example.com/groundwork/api/auth/v2"
	"example.com/groundwork/pkg/problem"
)

// console is how a command of this process calls auth, as a client that exists in this process only. What it does is audited as any caller's.
func console(ctx context.Context, c *config) (v1 *authv1.ClientWithResponses, v2 *authv2.ClientWithResponses, end func(), err error) {
	c.rateLimit = 0
	a, err := newApp(ctx, c, slog.New(slog.DiscardHandler), []string{"auth"})
	if err != nil {
		return nil, nil, nil, err
	}
	client := a.network.Client("console", a.console)
	v1, err = authv1.NewClientWithResponses("http://auth", authv1.WithHTTPClient(client))
	if err == nil {
		v2, err = authv2.NewClientWithResponses("http://auth", authv2.WithHTTPClient(client))
	}
	if err != nil {
		a.close()
		return nil, nil, nil, err
	}
	return v1, v2, a.close, nil
}

type helping func(ctx context.Context, auth *authv1.ClientWithResponses, a authv1.Account, stdout io.Writer) error

// desk is what the people who help users do to an account.
var desk = map[string]helping{
	"show":          show,
	"sessions":      sessions,
	"unlock":        done("it is open again", (*authv1.ClientWithResponses).UnlockIdentity),
	"disable":       done("nobody comes in by it any more", (*authv1.ClientWithResponses).DisableIdentity),
	"enable":        done("it is active again", (*authv1.ClientWithResponses).EnableIdentity),
	"end-keys":      done("every key to it has ended", (*authv1.ClientWithResponses).RevokeKeys),
	"remove-factor": done("it has no second factor, and every session has ended", (*authv1.ClientWithResponses).RemoveSecondFactor),
	"end-sessions":  done("every session has ended", (*authv1.ClientWithResponses).RevokeSessions),
	"reset":         done("its owner is asked for a new password by mail", (*authv1.ClientWithResponses).StartPasswordReset),
}

// support is `user <what> <address>`.
func support(ctx context.Context, c *config, args []string, stdout io.Writer) error {
	if len(args) != 2 || desk[args[0]] == nil && args[0] != "resend" {
		return fmt.Errorf("user resend, %s, and then an address", strings.Join(slices.Sorted(maps.Keys(desk)), ", "))
	}
	auth, _, end, err := console(ctx, c)
	if err != nil {
		return err
	}
	defer end()
	what, address := args[0], args[1]
	if what == "resend" { // there is no account yet, and the operation is for everybody: who helped is noted here
		noted, err := auth.NoteAuditEventWithResponse(ctx, authv1.NewAuditEvent{Kind: authv1.NewAuditEventKindRegistrationResent, Actor: "console", RequestId: uuid.NewString()})
		if err == nil {
			err = problem.NoContent(noted.HTTPResponse, noted.Body, nil)
		}
		if err != nil {
			return err
		}
		r, err := auth.ResendVerificationWithResponse(ctx, authv1.Address{Email: address})
		if err != nil {
			return err
		}
		if r.StatusCode() != http.StatusAccepted {
			return problem.FromPeer(r.HTTPResponse, r.Body)
		}
		_, err = fmt.Fprintf(stdout, "%s: if a registration waits, its mail is sent again\n", address)
		return err
	}
	found, err := auth.ListIdentitiesWithResponse(ctx, &authv1.ListIdentitiesParams{Email: address})
	switch {
	case err != nil:
		return err
	case found.JSON200 == nil:
		return problem.FromPeer(found.HTTPResponse, found.Body)
	case len(found.JSON200.Data) == 0:
		return fmt.Errorf("%s has no account", address)
	}
	return desk[what](ctx, auth, found.JSON200.Data[0], stdout)
}

// done makes a command of an operation that answers nothing.
func done(says string, do func(*authv1.ClientWithResponses, context.Context, uuid.UUID, ...authv1.RequestEditorFn) (*http.Response, error)) helping {
	return func(ctx context.Context, auth *authv1.ClientWithResponses, a authv1.Account, stdout io.Writer) error {
		resp, err := do(auth, ctx, a.Id)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			return problem.FromPeer(resp, body)
		}
		_, err = fmt.Fprintf(stdout, "%s: %s\n", a.Email, says)
		return err
	}
}

func show(_ context.Context, _ *authv1.ClientWithResponses, a authv1.Account, stdout io.Writer) error {
	tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	for _, line := range [][2]any{
		{"id", a.Id}, {"address", a.Email}, {"status", a.Status}, {"roles", strings.Join(a.Roles, " ")}, {"second factor", a.HasSecondFactor},
		{"closed by wrong passwords", a.IsLocked}, {"since", a.CreatedAt.Format(time.RFC3339)},
	} {
		fmt.Fprintf(tw, "%v\t%v\n", line[0], line[1])
	}
	return tw.Flush()
}

func sessions(ctx context.Context, auth *authv1.ClientWithResponses, a authv1.Account, stdout io.Writer) error {
	tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "id\tbegun\tlast used\tby\tfrom\tprogram")
	for params := (authv1.ListSessionsOfParams{}); ; {
		r, err := auth.ListSessionsOfWithResponse(ctx, a.Id, &params)
		if err != nil {
			return err
		}
		if r.JSON200 == nil {
			return problem.FromPeer(r.HTTPResponse, r.Body)
		}
		for _, s := range r.JSON200.Data {
			network, _ := s.Network.Get()
			program, _ := s.UserAgent.Get()
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%q\n", s.Id, s.CreatedAt.Format(time.RFC3339), s.LastUsedAt.Format(time.RFC3339), strings.Join(s.Methods, "+"), network, program)
		}
		if params.Cursor = r.JSON200.Page.NextCursor; params.Cursor == nil {
			return tw.Flush()
		}
	}
}
