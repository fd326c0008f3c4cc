package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/postgres"
)

var errJobs = errors.New("jobs, jobs retry <module> <id or all>, or jobs drop <module> <id>")

// failedJobs shows the jobs that failed, has them tried again, or drops them. It asks the databases: servers may run meanwhile.
func failedJobs(ctx context.Context, c *config, args []string, stdout io.Writer) error {
	what, only := "", ""
	switch {
	case len(args) == 0:
	case len(args) == 3 && (args[0] == "retry" || args[0] == "drop"):
		what, only = args[0], args[1]
	default:
		return errJobs
	}
	tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	var wrong []error
	known := false
	for _, m := range migrations.Modules() {
		if only != "" && m != only {
			continue
		}
		known = true
		if err := failedJobsOf(ctx, c, m, what, args, tw); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", m, err))
		}
	}
	if !known {
		return fmt.Errorf("there is no module %q; there are %s", only, strings.Join(migrations.Modules(), ", "))
	}
	return errors.Join(append(wrong, tw.Flush())...)
}

func failedJobsOf(ctx context.Context, c *config, module, what string, args []string, w io.Writer) error {
	if c.databaseURLs[module] == "" {
		return fmt.Errorf("settings: jobs needs %s_DATABASE_URL", strings.ToUpper(module))
	}
	db, err := postgres.Open(ctx, module, c.databaseURLs[module].Reveal(), 2)
	if err != nil {
		return err
	}
	defer db.Close()
	d, err := jobs.NewDesk(ctx, db, module)
	if err != nil {
		return err
	}
	if d == nil {
		if what == "" {
			return nil
		}
		return errors.New("it has no jobs")
	}
	var ids []int64
	if what == "" || args[2] == "all" && what == "retry" {
		list, err := d.Failed(ctx)
		if err != nil {
			return err
		}
		for _, j := range list {
			ids = append(ids, j.ID)
			if what == "" {
				state := "again at " + j.Next.Format(time.RFC3339)
				if j.GivenUp {
					state = "given up"
				}
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\ttried %d times since %s\t%s\n", module, j.ID, j.Kind, j.Args, state, j.Attempt, j.Since.Format(time.RFC3339), j.Failure)
			}
		}
	} else {
		id, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return errJobs
		}
		ids = []int64{id}
	}
	for _, id := range ids {
		switch what {
		case "retry":
			err = d.Retry(ctx, id)
		case "drop":
			err = d.Drop(ctx, id)
		default:
			continue
		}
		if len(args) == 3 && args[2] == "all" && errors.Is(err, jobs.ErrNotFailed) { // it has succeeded meanwhile
			continue
		}
		if err != nil {
			return fmt.Errorf("job %d: %w", id, err)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\n", module, id, map[string]string{"retry": "is tried again", "drop": "is dropped"}[what])
	}
	return nil
}
