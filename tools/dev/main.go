// Command dev is for the things that one does twenty times a day beside a running stack. The Makefile has a target for each.
//
//	dev psql [-as MODULE] [-db NAME]   psql as the owner or as a module's login, or $SQL and no more; needs DATABASE_URL
//	dev redis                          redis-cli, or $CMD and no more; needs REDIS_URL
//	dev mail [-to ADDRESS] [-n COUNT]  the newest mails of the local mailbox
//	dev token operator|new-user        an access token, and nothing else on stdout
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// world is what a command is given.
type world struct {
	getenv      func(string) string
	in          io.Reader
	out, errors io.Writer
}

// commands by name.
var commands = map[string]func(context.Context, world, []string) error{
	"psql":  psql,
	"redis": redisCLI,
	"mail":  mail,
	// only with auth:
	"token": token,
	// end auth
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], world{os.Getenv, os.Stdin, os.Stdout, os.Stderr})
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "dev:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to stop
	}
}

func run(ctx context.Context, args []string, w world) error {
	if len(args) > 0 && commands[args[0]] != nil {
		return commands[args[0]](ctx, w, args[1:])
	}
	var names []string
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Errorf("there is no command %q; there are %s", args, strings.Join(names, ", "))
}

// flags of a command, whose complaints go where its errors go.
func flags(name string, w world) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(w.errors)
	return f
}

// terminal reports whether a person types our input.
func terminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetInt(int(file.Fd()), unix.TIOCGPGRP)
	return err == nil
}

// replace puts another program in our place, so that a terminal's signals are its own affair.
func replace(path string, args, env []string) error {
	return syscall.Exec(path, append([]string{path}, args...), append(os.Environ(), env...))
}
