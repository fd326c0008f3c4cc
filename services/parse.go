package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/secret"
)

// A setting is read by one of these: it sets what it points at, and its error says what a good value is, never what it was given.

func oneOf(p *string, values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("one of %s", strings.Join(values, ", "))
		}
		*p = v
		return nil
	}
}

func yesOrNo(p *bool) func(string) error {
	return func(v string) error {
		*p = v == "true"
		if v != "true" && v != "false" {
			return errors.New("true or false")
		}
		return nil
	}
}

func text(p *string) func(string) error {
	return func(v string) error { *p = v; return nil }
}

func hidden(p *secret.Text) func(string) error {
	return func(v string) error { *p = secret.New(v); return nil }
}

// entry reads a value into a map, as what it is there.
func entry[T any](m map[string]T, key string, as func(string) T) func(string) error {
	return func(v string) error { m[key] = as(v); return nil }
}

// checked reads a value that is said with another look at it.
func checked(set, check func(string) error) func(string) error {
	return func(v string) error {
		err := set(v)
		if err == nil && v != "" {
			err = check(v)
		}
		return err
	}
}

func postgresURL(set func(string) error) func(string) error {
	return checked(set, func(v string) error {
		if u, err := url.Parse(v); err != nil || u.Host == "" || u.Scheme != "postgres" && u.Scheme != "postgresql" {
			return errors.New("a postgres:// address")
		}
		return nil
	})
}

func address(p *string) func(string) error {
	return func(v string) error {
		*p = v
		if _, _, err := net.SplitHostPort(v); err != nil {
			return errors.New("host:port, or :port for every interface")
		}
		return nil
	}
}

func httpURL(p *string) func(string) error {
	return func(v string) error {
		*p = strings.TrimSuffix(v, "/")
		if u, err := url.Parse(v); v != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			return errors.New("an http:// or https:// address")
		}
		return nil
	}
}

func integer(p *int, least, most int) func(string) error {
	return func(v string) (err error) {
		if *p, err = strconv.Atoi(v); err != nil || *p < least || *p > most {
			return fmt.Errorf("a number from %d to %d", least, most)
		}
		return nil
	}
}

func duration(p *time.Duration, least, most time.Duration) func(string) error {
	return func(v string) (err error) {
		if *p, err = time.ParseDuration(v); err != nil || *p < least || *p > most {
			return fmt.Errorf("a duration from %s to %s, such as 5s", least, most)
		}
		return nil
	}
}

func rate(p *float64) func(string) error {
	return func(v string) (err error) {
		if v == "off" {
			return nil
		}
		if *p, err = strconv.ParseFloat(v, 64); err != nil || *p < 0.1 || *p > 1e6 {
			return errors.New("requests per second, from 0.1 to 1000000, or off")
		}
		return nil
	}
}

func share(p *float64) func(string) error {
	return func(v string) (err error) {
		if *p, err = strconv.ParseFloat(v, 64); err != nil || *p < 0 || *p > 1 {
			return errors.New("a number from 0 to 1")
		}
		return nil
	}
}

func prefixes(p *[]string) func(string) error {
	return func(v string) error {
		for _, part := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }) {
			if _, err := netip.ParsePrefix(part); err != nil {
				return errors.New("networks such as 10.0.0.0/8, with commas between")
			}
			*p = append(*p, part)
		}
		return nil
	}
}

func origins(p *httpserver.Origins) func(string) error {
	return func(v string) (err error) {
		*p, err = httpserver.NewOrigins(strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' }))
		return err
	}
}

func push(traces, metrics *bool) func(string) error {
	return func(v string) error { *traces, *metrics = v != "", v != ""; return nil }
}

func disable(one, other *bool, word string) func(string) error {
	return func(v string) error {
		if v == word {
			*one = false
			if other != nil {
				*other = false
			}
		}
		return nil
	}
}
