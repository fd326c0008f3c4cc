// Command groundwork is the whole backend: every module, or some of them, in one process, and the commands that go with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/telemetry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends at once
	settleMemory()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "groundwork:", err)
		os.Exit(1)
	}
}

const logPatience = time.Second // for the last lines of the log

// usage is what help says: each command, and what it does.
var usage = [][2]string{
	{"serve", "answer requests and work jobs"},
	{"serve --modules=…", "the same for some of the modules, commas between: " + strings.Join(migrations.Modules(), ",")},
	{"migrate up", "make the logins and bring every schema to its newest version"},
	{"migrate status", "list what is applied"},
	// only with auth:
	{"operator", "make the account OPERATOR_EMAIL with OPERATOR_PASSWORD and every admin scope"},
	{"operator --replace", "the same, and change the account when there is one"},
	{"user <what> <address>", "show, sessions, unlock, disable, enable, end-sessions, end-keys, remove-factor, reset: help somebody with an account; resend: with a registration"},
	// end auth
	{"keys rotate", "give every module new keys; the servers go over to them"},
	{"keys status", "list the data keys, and how many rows each has sealed"},
	{"jobs", "list the jobs that failed; retry <module> <id or all>: try them again now; drop <module> <id>: never"},
	{"doctor", "look at everything that serve needs, and say what to do about what is wrong; --modules=… as there"},
	{"healthcheck", "ask the server at HTTP_ADDR whether it is ready"},
	{"config", "list every setting"},
	{"version", ""},
	{"help", ""},
}

func help(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, line := range usage {
		fmt.Fprintf(tw, "  groundwork %s\t%s\n", line[0], line[1])
	}
	fmt.Fprintln(tw, "\nSettings come from the environment.")
	return tw.Flush()
}

// run is the program: it is given the world and returns an error.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	command := "help"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "help", "-h", "--help":
		return help(stdout)
	case "version":
		_, err := fmt.Fprintln(stdout, version())
		return err
	case "config":
		return printSettings(stdout)
	}
	var modules []string
	if command == "serve" || command == "doctor" {
		var err error
		if modules, err = chosen(command, args, stderr); errors.Is(err, flag.ErrHelp) {
			return nil
		} else if err != nil {
			return err
		}
	}
	c, list, err := load(getenv, modules)
	if err != nil {
		return err
	}
	lines := telemetry.NewLines(stderr)
	defer lines.Flush(logPatience)
	log := telemetry.NewLog(lines, &c.logLevel)
	slog.SetDefault(log) // for libraries, which have no other
	switch command {
	case "serve":
		log.LogAttrs(ctx, slog.LevelInfo, "settings", c.masked(list)...)
		return serve(ctx, c, log, modules)
	case "doctor":
		return doctor(ctx, c, modules, stdout)
	case "migrate":
		return migrate(ctx, c, args, stdout)
	// only with auth:
	case "operator":
		return operator(ctx, c, args, log, stdout)
	case "user":
		return support(ctx, c, args, stdout)
	// end auth
	case "keys":
		return keys(ctx, c, args, stdout)
	case "jobs":
		return failedJobs(ctx, c, args, stdout)
	case "healthcheck":
		return healthcheck(ctx, c)
	}
	return fmt.Errorf("there is no command %q; see groundwork help", command)
}

// chosen reads which modules to serve.
func chosen(command string, args []string, stderr io.Writer) ([]string, error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	list := flags.String("modules", strings.Join(migrations.Modules(), ","), "which modules this process runs, commas between")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%s takes no argument %q", command, flags.Arg(0))
	}
	modules := strings.Split(*list, ",")
	slices.Sort(modules)
	modules = slices.Compact(modules)
	for _, m := range modules {
		if !slices.Contains(migrations.Modules(), m) {
			return nil, fmt.Errorf("there is no module %q; there are %s", m, strings.Join(migrations.Modules(), ", "))
		}
	}
	return modules, nil
}

func migrate(ctx context.Context, c *config, args []string, stdout io.Writer) error {
	if c.databaseURL.Empty() {
		return errors.New("settings: migrate needs DATABASE_URL, the owner of everything")
	}
	switch {
	case slices.Equal(args, []string{"up"}):
		logins := map[string]string{}
		for m, u := range c.databaseURLs {
			logins[m] = u.Reveal()
		}
		return migrations.Up(ctx, c.databaseURL.Reveal(), logins, stdout)
	case slices.Equal(args, []string{"status"}):
		states, err := migrations.Status(ctx, c.databaseURL.Reveal())
		if err != nil {
			return err
		}
		tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		for _, s := range states {
			state := "pending"
			if s.Applied {
				state = "applied"
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\n", s.Module, s.File, state)
		}
		return tw.Flush()
	}
	return errors.New("migrate up, or migrate status")
}

// healthcheckTimeout is less than what containers wait for a check.
const healthcheckTimeout = 3 * time.Second

// healthcheck asks the server of this machine, for containers without a shell.
func healthcheck(ctx context.Context, c *config) error {
	host, port, err := net.SplitHostPort(c.httpAddr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: status %d", resp.StatusCode)
	}
	return nil
}

// release is set by the build: -ldflags "-X main.release=v1.2.3".
var release string

func version() string {
	if release != "" {
		return release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "development"
}

// revision is the commit that was built, when it was built in its repository.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
