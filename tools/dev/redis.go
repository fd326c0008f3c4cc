package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisCLI opens the Redis that REDIS_URL names. Words of a command are split at spaces.
func redisCLI(ctx context.Context, w world, args []string) error {
	if err := flags("redis", w).Parse(args); err != nil {
		return err
	}
	address := w.getenv("REDIS_URL")
	if address == "" {
		return errors.New("no REDIS_URL: `make redis` starts what is missing")
	}
	words := strings.Fields(w.getenv("CMD"))
	for _, name := range []string{"redis-cli", "valkey-cli"} {
		if program, err := exec.LookPath(name); err == nil && w.getenv("LOCAL_REDIS") != "mini" {
			return replace(program, append([]string{"-u", address}, words...), nil)
		}
	}
	options, err := redis.ParseURL(address)
	if err != nil {
		return errors.New("REDIS_URL: not a redis:// address")
	}
	options.DisableIdentity = true // miniredis knows no CLIENT SETINFO
	client := redis.NewClient(options)
	defer client.Close()
	if len(words) > 0 {
		return command(ctx, client, words, w.out)
	}
	if terminal(w.in) {
		fmt.Fprintln(w.errors, "redis-cli is not used; this runs a command a line, and splits its words at spaces.")
	}
	for lines := bufio.NewScanner(w.in); lines.Scan(); {
		if words := strings.Fields(lines.Text()); len(words) > 0 {
			if err := command(ctx, client, words, w.out); err != nil {
				fmt.Fprintln(w.out, err)
			}
		}
	}
	return nil
}

func command(ctx context.Context, client *redis.Client, words []string, out io.Writer) error {
	list := make([]any, len(words))
	for i, word := range words {
		list[i] = word
	}
	answer, err := client.Do(ctx, list...).Result()
	if errors.Is(err, redis.Nil) {
		answer, err = "(nil)", nil
	}
	if err == nil {
		show(answer, "", out)
	}
	return err
}

// show writes an answer a line a value, lists below each other.
func show(answer any, indent string, out io.Writer) {
	switch a := answer.(type) {
	case []any:
		if len(a) == 0 {
			fmt.Fprintln(out, indent+"(empty)")
		}
		for _, one := range a {
			show(one, indent+"  ", out)
		}
	case map[any]any:
		for key, value := range a {
			fmt.Fprintf(out, "%s%v: %v\n", indent, key, value)
		}
	default:
		fmt.Fprintf(out, "%s%v\n", indent, a)
	}
}
