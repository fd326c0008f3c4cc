// only with auth, users, transactions: this file

package main

import (
	"crypto/sha256"
	"fmt"
	"slices"
)

// said is what a client asked for, and what it was answered in the end.
type said struct {
	kind, key string
	answered  bool              // for good
	done      bool              // and not refused
	code      string            // why it was
	bytes     [sha256.Size]byte // of the answer, hashed
	differed  bool              // two answers to the same key were not the same, byte for byte

	transaction, hold string // the ids that were answered
	from, to          string // the accounts
	moves             int64  // from one to the other
	holds             int64  // more of the first one's money, or less
}

// ledger is what the database has.
type ledger struct {
	transactions map[string]bool
	holds        map[string]string // their status
	balances     map[string]balance
}

type balance struct{ posted, held int64 }

// verdict is what is wrong, one line each.
type verdict struct {
	Lost       []string // answered, and not there
	Doubled    []string // there, and never answered
	Differ     []string // balances that are not the sum of what was answered
	Unanswered []string
}

func (v verdict) bad() int {
	return len(v.Lost) + len(v.Doubled) + len(v.Differ) + len(v.Unanswered)
}

// statuses are what each kind makes of its hold.
var statuses = map[string]string{"hold": "open", "capture": "captured", "void": "voided"}

// judge holds what was answered against the database, in which nobody did anything else. What was refused is no more than not there: an effect
// that nobody was told of is a double, and moves a balance.
func judge(all []said, is ledger) (v verdict) {
	transactions, holds, balances := map[string]bool{}, map[string]string{}, map[string]balance{}
	for _, s := range all {
		switch {
		case s.differed:
			v.Doubled = append(v.Doubled, fmt.Sprintf("%s under %s: two answers", s.kind, s.key))
		case !s.answered:
			v.Unanswered = append(v.Unanswered, fmt.Sprintf("%s under %s", s.kind, s.key))
		}
		if !s.done {
			continue
		}
		if s.transaction != "" {
			if !is.transactions[s.transaction] {
				v.Lost = append(v.Lost, fmt.Sprintf("%s under %s: transaction %s", s.kind, s.key, s.transaction))
			}
			if transactions[s.transaction] {
				v.Doubled = append(v.Doubled, fmt.Sprintf("%s under %s: transaction %s was answered to another key", s.kind, s.key, s.transaction))
			}
			transactions[s.transaction] = true
		}
		if s.hold != "" && (holds[s.hold] == "" || s.kind != "hold") { // its end may have been answered first
			holds[s.hold] = statuses[s.kind]
		}
		from, to := balances[s.from], balances[s.to]
		from.posted, from.held, to.posted = from.posted-s.moves, from.held+s.holds, to.posted+s.moves
		balances[s.from], balances[s.to] = from, to
	}
	for id, status := range holds {
		if is.holds[id] != status {
			v.Lost = append(v.Lost, fmt.Sprintf("hold %s is %q, and was answered as %s", id, is.holds[id], status))
		}
	}
	for id := range is.transactions {
		if !transactions[id] {
			v.Doubled = append(v.Doubled, "transaction "+id+" was answered to nobody")
		}
	}
	for id := range is.holds {
		if holds[id] == "" {
			v.Doubled = append(v.Doubled, "hold "+id+" was answered to nobody")
		}
	}
	for id, b := range is.balances {
		if b != balances[id] {
			v.Differ = append(v.Differ, fmt.Sprintf("account %s has %+v, and what was answered makes %+v", id, b, balances[id]))
		}
	}
	for _, lines := range [][]string{v.Lost, v.Doubled, v.Differ, v.Unanswered} {
		slices.Sort(lines)
	}
	return v
}
