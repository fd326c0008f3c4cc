// only with auth, users, transactions: this file

package main

import "testing"

// A proof that cannot fail proves nothing: each thing that may go wrong is found, and nothing is where nothing did.
func TestTheJudgeFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	pay := said{kind: "payment", key: "k1", answered: true, done: true, transaction: "t1", from: "a", to: "b", moves: 5}
	hold := said{kind: "hold", key: "k2", answered: true, done: true, hold: "h1", from: "a", to: "b", holds: 3}
	capture := said{kind: "capture", key: "k3", answered: true, done: true, transaction: "t2", hold: "h1", from: "a", to: "b", moves: 3, holds: -3}
	refused := said{kind: "payment", key: "k4", answered: true, from: "a", to: "b", moves: 100}
	for name, c := range map[string]struct {
		wrong func(all []said, is ledger) []said
		want  [4]int // lost, doubled, balances, unanswered
	}{
		"nothing": {func(all []said, _ ledger) []said { return all }, [4]int{}},
		"a payment is lost": {func(all []said, is ledger) []said {
			delete(is.transactions, "t1")
			is.balances["a"], is.balances["b"] = balance{posted: -3}, balance{posted: 3}
			return all
		}, [4]int{1, 0, 2, 0}},
		"a payment is lost, and its money moved": {func(all []said, is ledger) []said { delete(is.transactions, "t1"); return all }, [4]int{1, 0, 0, 0}},
		"a payment was made twice": {func(all []said, is ledger) []said {
			is.transactions["t1 again"] = true
			is.balances["a"], is.balances["b"] = balance{posted: -13}, balance{posted: 13}
			return all
		}, [4]int{0, 1, 2, 0}},
		"what was refused was done": {func(all []said, is ledger) []said {
			is.transactions["t4"] = true
			is.balances["a"], is.balances["b"] = balance{posted: -108}, balance{posted: 108}
			return all
		}, [4]int{0, 1, 2, 0}},
		"one key, two answers": {func(all []said, _ ledger) []said { all[0].differed = true; return all }, [4]int{0, 1, 0, 0}},
		"two keys, one answer": {func(all []said, _ ledger) []said {
			return append(all, said{key: "k5", answered: true, done: true, transaction: "t1"})
		}, [4]int{0, 1, 0, 0}},
		"nobody knows":               {func(all []said, _ ledger) []said { all[3].answered = false; return all }, [4]int{0, 0, 0, 1}},
		"a capture is lost":          {func(all []said, is ledger) []said { is.holds["h1"] = "open"; return all }, [4]int{1, 0, 0, 0}},
		"a hold was placed twice":    {func(all []said, is ledger) []said { is.holds["h1 again"] = "open"; return all }, [4]int{0, 1, 0, 0}},
		"money is held for nothing":  {func(all []said, is ledger) []said { is.balances["a"] = balance{-8, 3}; return all }, [4]int{0, 0, 1, 0}},
		"money moved without a word": {func(all []said, is ledger) []said { is.balances["b"] = balance{posted: 9}; return all }, [4]int{0, 0, 1, 0}},
	} {
		is := ledger{map[string]bool{"t1": true, "t2": true}, map[string]string{"h1": "captured"}, map[string]balance{"a": {posted: -8}, "b": {posted: 8}, "c": {}}}
		v := judge(c.wrong([]said{pay, capture, hold, refused}, is), is)
		if got := [4]int{len(v.Lost), len(v.Doubled), len(v.Differ), len(v.Unanswered)}; got != c.want {
			t.Errorf("%s: found %v, want %v: %+v", name, got, c.want, v)
		}
	}
}
