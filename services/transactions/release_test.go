package transactions

import (
	"io"
	"os"
	"testing"

	"github.com/google/uuid"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	"example.com/groundwork/migrations"
	"example.com/groundwork/pkg/postgres/pgtest"
	"example.com/groundwork/pkg/servertest"
)

// A ledger as a release left it is brought up to today: what it held is there, its keys count, and all that is new works on it. Each release whose
// tables differ gets a file of its own in testdata.
func TestMigrationsFromARelease(t *testing.T) {
	t.Parallel()
	dump, err := os.ReadFile("testdata/v0.2.0.sql")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: pgtest.NewEmpty(t), known: newID()}
	if _, err := w.db.Owner().Exec(t.Context(), string(dump)); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Up(t.Context(), w.db.OwnerURL, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	w.Module = w.instance(w.db.Pool("transactions"))
	w.Server = servertest.New(t, servertest.Module{Specs: [][]byte{transactionsv1.Spec}, Routes: w.Routes})
	b := &bank{world: w, owner: uuid.MustParse("01a20f52-5317-7e8e-9d6c-a6f46debd3d2")}
	ada, purse, till := b.actor(b.owner), uuid.MustParse("01a20f52-54a9-719b-81fd-335dd58f5a8f"), uuid.MustParse("01a20f52-54ae-783b-a14e-4a1d76dbeb10")
	ada.wantBalance(purse, 7500, 0)
	if broken := b.broken(true); broken != nil {
		t.Errorf("broken: %q", broken)
	}
	if resp := ada.post("rent-tin2vs", payment(purse, till, 2500)); resp.JSON201 == nil || resp.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("a request of then, sent again: %s", resp.Body)
	}
	list, err := ada.ListTransactionsWithResponse(t.Context(), &transactionsv1.ListTransactionsParams{AccountId: purse})
	if err != nil || list.JSON200 == nil || len(list.JSON200.Data) != 2 {
		t.Fatalf("what was posted then: %v %s", err, list.Body)
	}
	if resp := b.operator().reverse("rent back", list.JSON200.Data[0].Id); resp.JSON201 == nil {
		t.Errorf("taken back: %s", resp.Body)
	}
	ada.held(purse, till, 100)
	ada.pay(purse, till, 1)
	ada.wantBalance(purse, 9999, 100)
	if broken := b.broken(true); broken != nil {
		t.Errorf("broken afterwards: %q", broken)
	}
	b.audit()
}
