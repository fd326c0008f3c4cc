package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// A door is an address that stays while the server behind it is replaced. It passes bytes on and looks at none, so what goes through it
// is what the server says. Who comes while there is no server waits a little.
type door struct {
	listener net.Listener
	behind   atomic.Pointer[string]
}

// openDoor listens at the address of a setting: the caller's, or ours, on another port when ours is taken.
func openDoor(name string, port int) (*door, error) {
	var err error
	address := wish(name)
	if address == "" {
		port, err = freePort(port)
		address = localhost(port)
		err = errors.Join(err, os.Setenv(name, address))
	}
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d := &door{listener: listener}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go d.pass(conn.(*net.TCPConn))
		}
	}()
	return d, nil
}

func (d *door) lead(to string) { d.behind.Store(&to) }

func (d *door) pass(in *net.TCPConn) {
	defer in.Close()
	out := d.dial()
	if out == nil {
		return
	}
	defer out.Close()
	go func() {
		_, _ = io.Copy(out, in)
		_ = out.CloseWrite()
	}()
	_, _ = io.Copy(in, out)
}

func (d *door) dial() *net.TCPConn {
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if to := d.behind.Load(); to != nil {
			if conn, err := net.Dial("tcp", *to); err == nil {
				return conn.(*net.TCPConn)
			}
		}
	}
	return nil
}
