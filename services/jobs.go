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
	if c.databaseURLs[module].Empty() {
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
	switch {
	case d == nil && what == "":
		return nil
	case d == nil:
		return errors.New("it has no jobs")
	case what == "":
		return list(ctx, d, module, w)
	}
	one, said := d.Retry, "is tried again"
	if what == "drop" {
		one, said = d.Drop, "is dropped"
	}
	all := what == "retry" && args[2] == "all"
	ids, err := chosenJobs(ctx, d, args[2], all)
	if err != nil {
		return err
	}
	for _, id := range ids {
		err := one(ctx, id)
		if all && errors.Is(err, jobs.ErrNotFailed) { // it has succeeded meanwhile
			continue
		}
		if err != nil {
			return fmt.Errorf("job %d: %w", id, err)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\n", module, id, said)
	}
	return nil
}

func chosenJobs(ctx context.Context, d *jobs.Desk, which string, all bool) (ids []int64, err error) {
	if !all {
		id, err := strconv.ParseInt(which, 10, 64)
		if err != nil {
			return nil, errJobs
		}
		return []int64{id}, nil
	}
	err = eachFailed(ctx, d, func(j jobs.Job) {
		if j.State != jobs.Refused { // it would be again
			ids = append(ids, j.ID)
		}
	})
	return ids, err
}

func list(ctx context.Context, d *jobs.Desk, module string, w io.Writer) error {
	return eachFailed(ctx, d, func(j jobs.Job) {
		state := string(j.State)
		if j.State == jobs.Retried {
			state = "again at " + j.Next.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\ttried %d times since %s\t%s\n", module, j.ID, j.Kind, j.Args, state, j.Attempt, j.Since.Format(time.RFC3339), j.Failure)
	})
}

func eachFailed(ctx context.Context, d *jobs.Desk, do func(jobs.Job)) error {
	for after := int64(0); ; {
		failed, err := d.Failed(ctx, after)
		if err != nil || len(failed) == 0 {
			return err
		}
		for _, j := range failed {
			do(j)
			after = j.ID
		}
	}
}
