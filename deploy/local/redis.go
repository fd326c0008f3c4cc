package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2"
)

// startRedis runs an installed Redis or Valkey. Without one, miniredis serves from within this process: it knows the
// commands we use, keeps nothing, and its keys expire by the clock.
func startRedis(ctx context.Context, o order, died chan<- error) (address string, stop func(), err error) {
	favourite := 56379
	if o.Test {
		favourite = 0
	}
	program := ""
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil && program == "" && os.Getenv("LOCAL_REDIS") != "mini" {
			program = path
		}
	}
	err = onPort(favourite, func(port int) error {
		address = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		if program == "" {
			mini := miniredis.NewMiniRedis()
			mini.ClockTTL(true)
			stop = mini.Close
			return mini.StartAddr(address)
		}
		s, err := launch("Redis", filepath.Join(o.Data, "redis.log"), program, "--port", strconv.Itoa(port),
			"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", o.Data)
		if err != nil {
			return err
		}
		if err := s.ready(ctx, func(ctx context.Context) error { return ping(ctx, address) }); err != nil {
			return err
		}
		stop = s.stop
		go s.watch(ctx, died)
		return nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("Redis on %s: %w", address, err)
	}
	if program == "" {
		say("Redis: no redis-server or valkey-server is used, miniredis stands in on %s", address)
	}
	return address, stop, nil
}

func ping(ctx context.Context, address string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 64)
	n, err := conn.Read(answer)
	if err == nil && !strings.HasPrefix(string(answer[:n]), "+PONG") {
		err = fmt.Errorf("PING is answered with %q", answer[:n])
	}
	return err
}
