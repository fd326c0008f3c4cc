package transactions

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"

	"example.com/groundwork/pkg/problem"
	"example.com/groundwork/pkg/request"
)

// order is a transaction that somebody wants posted, under a key that makes it happen once.
type order struct {
	transaction
	operator    bool // the caller has ledger:write
	key         string
	fingerprint [sha256.Size]byte // of the request
	info        *request.Info     // to word a refusal
	accepted    answer            // what the caller gets if it is posted
}

// newOrder renders the good answer beforehand: while the locks are held there is time for SQL only.
func newOrder(t transaction, operator bool, key string, info *request.Info) (*order, error) {
	body, err := json.Marshal(t.api())
	if err != nil {
		return nil, err
	}
	header := http.Header{"Content-Type": {"application/json"}, "Location": {"/v1/transactions/" + t.ID.String()}}
	return &order{t, operator, key, info.Fingerprint(), info, answer{http.StatusCreated, header, append(body, '\n'), "", false}}, nil
}

// refused is the answer that says why the order was not posted.
func (o *order) refused(e *problem.Error) answer {
	status, header, body := problem.Render(o.info, e)
	return answer{status, header, body, e.Code, false}
}

// again is what becomes of the order when its key was used before, for a request with this fingerprint and this answer.
func (o *order) again(fingerprint []byte, kept answer) outcome {
	if string(fingerprint) != string(o.fingerprint[:]) {
		return outcome{err: problem.Invalid.New("idempotency-key-reused", "This key was used for another request; use a new one.")}
	}
	kept.replayed = true
	return outcome{answer: kept}
}

// answer is a finished response, kept under its key and the same for whoever asks again.
type answer struct {
	Status   int
	Header   http.Header
	Body     []byte
	code     string // of the problem, for the access log; not kept
	replayed bool
}

// VisitCreateTransactionResponse sends the answer; it makes it one of the generated server's responses.
func (a answer) VisitCreateTransactionResponse(w http.ResponseWriter) error {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	if a.replayed {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.WriteHeader(a.Status)
	_, err := w.Write(a.Body)
	return err
}

// outcome is what became of an order: an answer that is kept, or an error that is not.
type outcome struct {
	answer answer
	err    error
}

// lockOf is the number of the advisory lock under which a principal's name of some sort is used: an idempotency key, a reference. Two
// names that share a number wait for each other without need, which is all that can happen.
func lockOf(sort string, principal uuid.UUID, name string) int64 {
	h := sha256.New()
	h.Write(principal[:])
	h.Write([]byte(sort + "\x00" + name))
	return int64(binary.BigEndian.Uint64(h.Sum(nil)))
}
