package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// site is the running server, as `make run` and `make dev` describe it in .local/run.env. The environment's word comes first.
type site struct {
	base   string
	mail   string // the process that keeps the mailbox, which is another one when modules run apart
	getenv func(string) string
}

func running(getenv func(string) string) (site, error) {
	text, err := os.ReadFile(".local/run.env")
	if err != nil && !os.IsNotExist(err) {
		return site{}, err
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(value, "'"), "'"), `'\''`, "'")
	}
	s := site{getenv: func(name string) string { return cmp.Or(getenv(name), values[name]) }}
	s.mail = cmp.Or(getenv("MAIL_URL"), getenv("BASE_URL"), values["MAIL_URL"], values["BASE_URL"])
	if s.base = s.getenv("BASE_URL"); s.base == "" {
		return s, errors.New("no server is running here: `make dev` or `make run` starts one in another terminal")
	}
	return s, nil
}

// send sends a request and reads the answer into a value when there is one.
func (s site) send(req *http.Request, into any) (status int, err error) {
	resp, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return 0, fmt.Errorf("nothing answers at %s: `make dev` or `make run` starts a server in another terminal", s.base)
	} else if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode < 300 && into != nil {
		err = json.Unmarshal(answer, into)
	}
	return resp.StatusCode, err
}
