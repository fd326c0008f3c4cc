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

// order is something that somebody wants done to the books, under a key that makes it happen once.
type order struct {
	deed
	by          uuid.UUID // whose key it is
	key         string
	fingerprint [sha256.Size]byte // of the request
	info        request.Info      // a copy, to word a refusal with: the caller may be gone by then
	accepted    answer            // what the caller gets if it is done
}

// deed is one sort of order. There are transfers (posting.go), reversals (reversal.go), and holds with their ends (hold.go).
type deed interface {
	// needs says what the books have to show, so that it can be decided on them.
	needs() needs
	// do does it to the books, or says why not and leaves them as they were.
	do(b books) (done, *problem.Error)
}

// needs are what a deed depends on: it is locked before anything is decided.
type needs struct {
	accounts  []uuid.UUID
	holds     []uuid.UUID
	reference *reference
	original  *uuid.UUID // the transaction that is taken back
}

// locks are the numbers of the locks of a reference and of a reversal.
func (n needs) locks() (locks []int64) {
	if n.reference != nil {
		locks = append(locks, lockOf("reference", n.reference.CreatedBy, n.reference.Reference))
	}
	if n.original != nil {
		locks = append(locks, lockOf("reversal", *n.original, ""))
	}
	return locks
}

// done is what a deed leaves to be written, beside the balances that it moved.
type done struct {
	transaction *transaction
	entries     []entry
	placed      *hold // a new one
	ended       *hold // one that was open
}

// newOrder renders the good answer beforehand: while the locks are held there is time for SQL only.
func newOrder(d deed, by uuid.UUID, key string, info *request.Info, status int, header http.Header, body any) (*order, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	header.Set("Content-Type", "application/json")
	return &order{d, by, key, info.Fingerprint(), *info, answer{status, header, append(text, '\n'), "", false}}, nil
}

// refused is the answer that says why the order was not carried out.
func (o *order) refused(e *problem.Error) answer {
	status, header, body := problem.Render(&o.info, e)
	return answer{status, header, body, e.Code, false}
}

// again is what becomes of the order when its key was used before, for a request with this fingerprint and this answer.
func (o *order) again(fingerprint []byte, kept answer) outcome {
	if string(fingerprint) != string(o.fingerprint[:]) {
		return outcome{err: errKeyReused}
	}
	kept.replayed = true
	if kept.Status >= http.StatusBadRequest {
		var refusal problem.Document
		if json.Unmarshal(kept.Body, &refusal) == nil {
			kept.code = refusal.Code
		}
	}
	return outcome{answer: kept}
}

var errKeyReused = problem.Invalid.New("idempotency-key-reused", "This key was used for another request; use a new one.")

// answer is a finished response, kept under its key and the same for whoever asks again. It is each of the generated server's responses
// that move money.
type answer struct {
	Status   int
	Header   http.Header
	Body     []byte
	code     string // of the problem, for the access log; not kept
	replayed bool
}

func (a answer) VisitCreateTransactionResponse(w http.ResponseWriter) error  { return a.send(w) }
func (a answer) VisitReverseTransactionResponse(w http.ResponseWriter) error { return a.send(w) }
func (a answer) VisitCreateHoldResponse(w http.ResponseWriter) error         { return a.send(w) }
func (a answer) VisitCaptureHoldResponse(w http.ResponseWriter) error        { return a.send(w) }
func (a answer) VisitVoidHoldResponse(w http.ResponseWriter) error           { return a.send(w) }

func (a answer) send(w http.ResponseWriter) error {
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
