package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// A keeper runs the servers of a checkout.
type keeper struct {
	place
	ctx  context.Context // ends when nobody needs them
	env  []string
	stop []func()
	died chan error
}

// keep gives a launcher a stack, and cleans up when the launcher has gone, which closes our stdin.
func keep(test bool) error {
	syscall.Umask(0o022)           // the servant must read what we download; what is secret says so itself
	signal.Ignore(syscall.SIGPIPE) // the launcher that reads our words may be gone
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	left := make(chan struct{})
	go func() {
		outlive(os.Stdin)
		close(left)
	}()

	p, err := locate(test)
	if err != nil {
		return err
	}
	if test && p.servant != nil {
		forget()
	}
	var users, stack *os.File
	var env []string
	if os.Getenv("DATABASE_URL") == "" || os.Getenv("REDIS_URL") == "" {
		if users, err = lock(p.in("users.lock"), syscall.LOCK_SH); err != nil { // waits for a keeper that is stopping
			return err
		}
		defer users.Close()
		if stack, env, err = p.ownOrJoin(left); err != nil {
			return err
		}
	}
	if stack == nil {
		if err := p.tell(env); err != nil {
			return err
		}
		<-left
		return nil
	}

	go func() {
		<-left
		if flock(users, syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			fmt.Println("shared")
			_ = flock(users, syscall.LOCK_EX)
		}
		cancel()
	}()
	k := &keeper{place: p, ctx: ctx, died: make(chan error, 2)}
	err = k.serve(stack)
	_ = stack.Truncate(0) // nobody is to join any more
	for _, stop := range slices.Backward(k.stop) {
		stop()
	}
	if ctx.Err() != nil {
		return nil // whatever it was, we are asked to end
	}
	return err
}

// outlive returns when the launcher has ended. When it was killed, its command is still there: Linux can end the command
// with the launcher, but not what the command has started.
func outlive(launcher io.Reader) {
	groups := map[int]bool{}
	for lines := bufio.NewScanner(launcher); lines.Scan(); {
		if group, _ := strconv.Atoi(lines.Text()); group > 1 {
			groups[group] = true
		} else {
			delete(groups, -group)
		}
	}
	for group := range groups {
		endGroup(group, 10*time.Second)
	}
}

// ownOrJoin returns the file to write the environment to, locked as long as we live, when there is no stack yet; else the
// environment of the stack that runs. An empty line says that it is whole.
func (p place) ownOrJoin(left <-chan struct{}) (stack *os.File, env []string, err error) {
	defer every(5*time.Second, "waiting for another command that starts the stack of "+p.root)()
	for {
		stack, err := lock(p.in("stack.env"), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return stack, nil, stack.Truncate(0)
		} else if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil, err
		}
		content, err := os.ReadFile(p.in("stack.env"))
		if text, whole := strings.CutSuffix(string(content), "\n\n"); whole || err != nil {
			return nil, strings.Split(text, "\n"), err
		}
		select {
		case <-left:
			return nil, nil, errors.New("interrupted")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tell tells the launcher the environment of its command. The caller's word comes first.
func (p place) tell(env []string) error {
	values := map[string]string{"ENVIRONMENT": "local", "KEY_ENCRYPTION_KEY_FILE": p.in("key-encryption-key"), "DATABASE_URL": "", "REDIS_URL": ""}
	for _, line := range env {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	for name, value := range values {
		if value = cmp.Or(os.Getenv(name), value); value == "" {
			return fmt.Errorf("the stack that runs for %s was started with a %s from outside: stop it, or set %s", p.root, name, name)
		}
		fmt.Printf("env %s=%s\n", name, value)
	}
	fmt.Println("ready")
	return nil
}

// serve starts what is missing and stays until it dies or nobody needs it.
func (k *keeper) serve(stack io.Writer) (err error) {
	if os.Getenv("REDIS_URL") == "" {
		err = k.redis()
	}
	if err == nil && os.Getenv("DATABASE_URL") == "" {
		err = k.postgres()
	}
	if err == nil {
		_, err = fmt.Fprint(stack, strings.Join(k.env, "\n")+"\n\n")
	}
	if err == nil {
		err = k.tell(k.env)
	}
	if err != nil {
		return err
	}
	select {
	case <-k.ctx.Done():
		return nil
	case err := <-k.died:
		return err
	}
}

// run starts a server that dies with us, even when we are killed (see start), and waits until it answers.
func (k *keeper) run(name string, cmd *exec.Cmd, ask func(context.Context) error) error {
	file := filepath.Join(k.data, strings.ToLower(name)+".log")
	log, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := start(cmd, syscall.SIGINT); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	failed := func(how any) error {
		content, _ := os.ReadFile(file)
		lines := strings.Split(strings.TrimSpace(string(content)), "\n")
		return fmt.Errorf("%s: %v; the end of %s:\n    %s", name, how, file, strings.Join(lines[max(0, len(lines)-20):], "\n    "))
	}
	stop := func() { // politely (to Postgres SIGINT is a fast shutdown), then firmly
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
			_ = cmd.Process.Signal(sig)
			select {
			case <-gone:
				return
			case <-time.After(10 * time.Second):
			}
		}
	}

	starting, cancel := context.WithTimeout(k.ctx, time.Minute)
	defer cancel()
	for err := ask(starting); err != nil; err = ask(starting) {
		select {
		case <-gone:
			return failed(cmd.ProcessState)
		case <-starting.Done():
			stop()
			return failed(err)
		case <-time.After(30 * time.Millisecond):
		}
	}
	k.stop = append(k.stop, stop)
	go func() {
		<-gone
		k.died <- failed(fmt.Sprintf("ended by itself, %s", cmd.ProcessState))
	}()
	return nil
}

// redis runs an installed Redis or Valkey. Without one, miniredis serves from within this process: it knows the commands we
// use, keeps nothing, and its keys expire by the clock.
func (k *keeper) redis() error {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		program, err = exec.LookPath("valkey-server")
	}
	mini := err != nil || os.Getenv("LOCAL_REDIS") == "mini"
	port, err := k.onPort(56379, func(port int) error {
		if mini {
			m := miniredis.NewMiniRedis()
			m.ClockTTL(true)
			k.stop = append(k.stop, m.Close)
			return m.StartAddr(localhost(port))
		}
		cmd := k.program(program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", "/",
			"--save", "", "--appendonly", "no", "--daemonize", "no")
		return k.run("Redis", cmd, func(ctx context.Context) error { return isRedis(ctx, port, cmd) })
	})
	if mini && err == nil {
		say("Redis: no redis-server or valkey-server is used, miniredis stands in on %s", localhost(port))
	} else if err == nil {
		say("Redis: %s on %s", program, localhost(port))
	}
	k.env = append(k.env, "REDIS_URL=redis://"+localhost(port)+"/0")
	return err
}

// isRedis asks whether it is our process that answers, and not one that was quicker to take the port.
func isRedis(ctx context.Context, port int, cmd *exec.Cmd) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", localhost(port))
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	fmt.Fprint(conn, "INFO server\r\nQUIT\r\n")
	info, _ := io.ReadAll(conn)
	if !strings.Contains(string(info), fmt.Sprintf("process_id:%d\r", cmd.Process.Pid)) {
		return errors.New("another server answers")
	}
	return nil
}

// onPort runs attempt with the port we like, then with any free port: somebody may take a port between our look and the
// server's bind. For tests it is a port of the checkout's own: with the same addresses, go test knows a result from before.
func (k *keeper) onPort(favourite int, attempt func(port int) error) (port int, err error) {
	if k.test {
		favourite = 20_000 + int(crc32.ChecksumIEEE(fmt.Append(nil, favourite, k.root))%10_000)
	}
	for range 5 {
		if port, err = freePort(favourite); err != nil {
			return 0, err
		}
		if err = attempt(port); err == nil || free(localhost(port)) {
			break
		}
	}
	return port, err
}

// freePort returns the port we like, or another one when that is taken: below those that the system gives to connections by
// itself, so that none of them takes it before a server does.
func freePort(favourite int) (int, error) {
	if favourite > 0 && free(localhost(favourite)) && reserve(favourite) {
		return favourite, nil
	}
	for range 1000 {
		port := 10_000 + mathrand.N(10_000) //nolint:gosec // nobody is to be kept from guessing it
		if port != favourite && free(localhost(port)) {
			return port, nil
		}
	}
	return 0, errors.New("there is no free port")
}

var reserved sync.Map // what holds the ports that we like, by number: nobody else may close it

// reserve makes a port ours until this process has ended: every checkout likes the same ones, and the server that is to have it comes later. Who
// has the UDP port of a number has the TCP port too, and nothing is left of that when a launcher is killed.
func reserve(port int) bool {
	hold, err := net.ListenPacket("udp", localhost(port))
	if err != nil {
		return false
	}
	reserved.Store(port, hold)
	return true
}

func free(address string) bool {
	listener, err := net.Listen("tcp", address)
	if err == nil {
		_ = listener.Close()
	}
	return err == nil
}

func localhost(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// secret reads a password, and makes one up the first time.
func secret(path string) (string, error) {
	content, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		fresh := rand.Text()
		return fresh, os.WriteFile(path, []byte(fresh), 0o600)
	}
	return strings.TrimSpace(string(content)), err
}
