package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/authn"
	"example.com/groundwork/pkg/seal"
	"example.com/groundwork/pkg/secret"
)

// keyed is a module that has keys.
type keyed interface {
	// RotateKeys begins a rotation, and says what it did. What began already goes on.
	RotateKeys(ctx context.Context) (did []string, err error)
	KeyStatus(ctx context.Context) ([]seal.KeyUse, error)
	// KeysFit reports whether the key-encryption key opens them.
	KeysFit(ctx context.Context) error
}

// keys rotates the keys of every module, or lists them. It asks the databases: servers may run meanwhile, and finish what it begins.
func keys(ctx context.Context, c *config, args []string, stdout io.Writer) error {
	tell := map[string]func(ctx context.Context, module string, k keyed, w io.Writer) error{"rotate": rotateKeys, "status": keyStatus}[strings.Join(args, " ")]
	if tell == nil {
		return errors.New("keys rotate, or keys status")
	}
	var have []string
	var missing []string
	for _, m := range migrations.Modules() {
		if slices.Contains(needs[m], keySettings) {
			have = append(have, m)
			if c.databaseURLs[m].Empty() {
				missing = append(missing, strings.ToUpper(m)+"_DATABASE_URL")
			}
		}
	}
	if c.keyEncryptionKey.Empty() && c.keyEncryptionKeyFile == "" {
		missing = append(missing, keySettings)
	}
	if len(missing) > 0 { // half a rotation would be taken for a whole one
		return fmt.Errorf("settings: keys needs %s", strings.Join(missing, ", "))
	}
	// only with auth:
	if c.smtpURL.Empty() {
		c.smtpURL = secret.New("smtp://localhost:25") // no mail is sent
	}
	// end auth
	a, err := newApp(ctx, c, slog.New(slog.DiscardHandler), have)
	if err != nil {
		return err
	}
	defer a.close()
	tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	var wrong []error
	for _, m := range have {
		if err := tell(ctx, m, a.keys[m], tw); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", m, err))
		}
	}
	return errors.Join(append(wrong, tw.Flush())...)
}

func rotateKeys(ctx context.Context, module string, k keyed, w io.Writer) error {
	did, err := k.RotateKeys(authn.With(ctx, authn.Principal{Subject: "console"}))
	for _, line := range did {
		fmt.Fprintf(w, "%s: %s\n", module, line)
	}
	return err
}

func keyStatus(ctx context.Context, module string, k keyed, w io.Writer) error {
	list, err := k.KeyStatus(ctx)
	for _, u := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d rows\n", module, u.Key, u.State, u.Rows)
	}
	return err
}
