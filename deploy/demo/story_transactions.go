// only with auth, transactions: this file

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// payments is what transactions does. run makes this run's keys different from another's.
func (d *demo) payments(alice, bob, operator *person, run string) {
	d.title("Each opens an account in euros")
	hers := d.want(d.call(alice, "POST", "/v1/accounts", object{"currency": "EUR", "name": "Everyday"}, nil), 201).text("id")
	his := d.want(d.call(bob, "POST", "/v1/accounts", object{"currency": "EUR"}, nil), 201).text("id")

	d.title("An operator brings 100.00 into Alice's account from outside")
	outside := d.want(d.call(operator, "POST", "/v1/accounts", object{"currency": "EUR", "kind": "external"}, nil), 201).text("id")
	d.want(d.pay(operator, "top-up-"+run, outside, hers, 10_000), 201)

	d.title("Alice pays Bob 25.00")
	first := d.want(d.pay(alice, "rent-"+run, hers, his, 2_500), 201)

	d.title("The answer got lost, so her phone sends the same again: one payment, the same bytes")
	again := d.want(d.pay(alice, "rent-"+run, hers, his, 2_500), 201)
	d.check(bytes.Equal(first.body, again.body), "the replay has other bytes")
	d.check(again.header.Get("Idempotent-Replayed") == "true", "the replay does not say that it is one")
	fmt.Fprintln(d.out, "    Idempotent-Replayed: true")

	d.title("More than she has is refused, and so is Bob's hand in her pocket")
	d.code(d.pay(alice, "yacht-"+run, hers, his, 1_000_000), 422, "insufficient-funds")
	d.code(d.pay(bob, "theft-"+run, hers, his, 1), 404, "not-found")

	d.title("Alice reads her statement")
	statement := d.want(d.call(alice, "GET", "/v1/accounts/"+hers+"/entries", nil, nil), 200)
	var page struct {
		Data []struct {
			Amount       int64 `json:"amount"`
			BalanceAfter int64 `json:"balance_after"`
		}
	}
	d.check(json.Unmarshal(statement.body, &page) == nil && len(page.Data) == 2, "the statement should have two entries")
	d.check(page.Data[0].Amount == -2_500 && page.Data[0].BalanceAfter == 7_500, "the newest entry should be -25.00, leaving 75.00")
}

func (d *demo) pay(p *person, key, from, to string, amount int64) answer {
	return d.call(p, "POST", "/v1/transactions",
		object{"postings": []object{{"from": from, "to": to, "amount": amount, "currency": "EUR"}}}, header{"Idempotency-Key": key})
}

func (d *demo) code(a answer, status int, code string) {
	d.want(a, status)
	d.check(a.text("code") == code, "the code should be "+code)
}
