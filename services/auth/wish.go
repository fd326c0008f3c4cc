package auth

import "example.com/groundwork/pkg/problem"

// wish is what a caller allows to happen to an address whose account it describes.
type wish struct {
	make    bool // an account, where none is
	keep    bool // one that stands as asked already
	replace bool // one with another password or other roles
}

// wishOf reads the preconditions of a PUT, each of which says `*` or is absent (RFC 9110, section 13.1). Without one nothing is lost, so an
// account that differs stays; with both nothing can be right.
func wishOf(ifMatch, ifNoneMatch bool) wish {
	return wish{make: !ifMatch, keep: !ifNoneMatch, replace: ifMatch && !ifNoneMatch}
}

type doing int

const (
	keeping doing = iota
	making
	replacing
)

var (
	errNone  = problem.PreconditionFailed.New("precondition-failed", "There is no account with this address.")
	errThere = problem.PreconditionFailed.New("precondition-failed", "There is an account with this address already.")
	errOther = problem.PreconditionRequired.New("precondition-required", "There is an account with this address, with another password or other roles: send If-Match: * to replace it.")
)

// of decides what to do with an address by whether an account is there, and whether it is the same as asked.
func (w wish) of(there, same bool) (doing, error) {
	switch {
	case !there && w.make:
		return making, nil
	case !there:
		return keeping, errNone
	case !w.keep:
		return keeping, errThere
	case same:
		return keeping, nil
	case w.replace:
		return replacing, nil
	}
	return keeping, errOther
}
