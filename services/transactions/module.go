// Package transactions is the ledger: accounts, and transactions between them that are never changed.
//
// It serves api/transactions/v1 and keeps the schema transactions: accounts and their balances, transactions and their entries, and what
// was answered to each idempotency key.
//
// only with users:
// It calls users, to check the owner that an operator names for an account (owner_users.go).
// end users
//
// The core path, to be read first: CreateTransaction in handlers.go makes an order of what the caller wants (posting.go, order.go), which
// waits in a queue (queue.go) until store.post (store_posting.go) takes a batch of them: it takes the locks, transfer.do (posting.go) decides,
// it writes and answers. Reversals (reversal.go) and holds (hold.go, store_holds.go) are other orders on the same path; accounts and lists
// (account.go, store_accounts.go, store_history.go), jobs.go, and the checks of all that must hold (integrity.go, store_integrity.go) stand beside it.
package transactions

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"go.opentelemetry.io/otel"

	transactionsv1 "example.com/groundwork/api/transactions/v1"
	usersv1 "example.com/groundwork/api/users/v1"
	"example.com/groundwork/pkg/httpserver"
	"example.com/groundwork/pkg/jobs"
	"example.com/groundwork/pkg/problem"
)

// Module is the transactions module. Its methods are the operations of the contract.
type Module struct {
	store  store
	orders *queue
	queue  *jobs.Queue
	// only with users:
	users usersv1.ClientWithResponsesInterface
	// end users
}

// New makes the module on a pool that is logged in as groundwork_transactions. It does no I/O.
func New(db *pgxpool.Pool,
	// only with users:
	users usersv1.ClientWithResponsesInterface,
	// end users
	log *slog.Logger) (*Module, error) {
	m := &Module{store: newStore(db)}
	m.orders = newQueue(m.store.post)
	// only with users:
	m.users = users
	// end users
	kinds := river.NewWorkers()
	river.AddWorker(kinds, &purge{store: m.store})
	river.AddWorker(kinds, &expire{store: m.store})
	river.AddWorker(kinds, &check{store: m.store, log: log})
	queue, err := jobs.New(db, "transactions", log, kinds,
		river.NewPeriodicJob(river.PeriodicInterval(checkEvery), newRun, nil),
		river.NewPeriodicJob(river.PeriodicInterval(purgeEvery), newPurge, nil),
		river.NewPeriodicJob(river.PeriodicInterval(expireEvery), newExpire, nil))
	m.queue = queue
	if err = errors.Join(err, watch(otel.Meter("transactions"), m.store)); err != nil {
		return nil, fmt.Errorf("transactions: %w", err)
	}
	return m, nil
}

// Routes adds the contract's operations to r.
func (m *Module) Routes(r chi.Router) {
	transactionsv1.HandlerWithOptions(
		transactionsv1.NewStrictHandlerWithOptions(m, nil, transactionsv1.StrictHTTPServerOptions{
			RequestErrorHandlerFunc: httpserver.BadBody, ResponseErrorHandlerFunc: problem.Write,
		}),
		transactionsv1.ChiServerOptions{BaseRouter: r, ErrorHandlerFunc: httpserver.BadParameter})
}

// Jobs is the module's background work: forgetting idempotency keys, ending holds, checking the ledger.
func (m *Module) Jobs() *jobs.Queue { return m.queue }
