package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	stepSize = 200             // rows; a step is one statement that reads and one that writes
	mostLeft = 1000            // rows that one run leaves behind, before it gives up
	runTime  = 4 * time.Minute // of one run; the next one goes on
	// RunTimeout is more than a run of Continue takes.
	RunTimeout = 5 * time.Minute

	watched     = 10_000 // rows that the metric counts, at most: it is read often, and has to tell some from none
	watchTime   = time.Second
	countTime   = time.Minute // for the command, which counts all
	foreignKeys = "other"
)

// Column is where a module keeps ciphertexts: Seal was given the table, the name of the column, and the row's id, a UUID in the column ID.
// Each has an index on the keys (substring(column from 1 for 5)), so that rows under an old key are found without reading the others.
type Column struct{ Table, ID, Name string }

// Rotation moves what a module has sealed from old keys to the primary one.
type Rotation struct {
	keys    *Keys
	rows    rows
	columns []Column
}

// NewRotation is the rotation of all that stands in these columns.
func NewRotation(keys *Keys, db *pgxpool.Pool, columns ...Column) *Rotation {
	return &Rotation{keys, rows{db}, columns}
}

// Begin begins one: see Keys.Rotate.
func (r *Rotation) Begin(ctx context.Context) (id uint32, err error) { return r.keys.Rotate(ctx) }

// Continue does what is due, for a job: it makes a settled key primary, and seals with it what others have sealed. Without either it does
// nothing. Rows that change or are locked meanwhile are left to the next run, and so is what takes too long; a row that does not open is an
// error, but does not hold up the others.
func (r *Rotation) Continue(ctx context.Context) error {
	if _, err := r.keys.Settle(ctx); err != nil {
		return err
	}
	end := time.Now().Add(runTime)
	var wrong []error
	for _, c := range r.columns {
		if err := r.reseal(ctx, c, end); err != nil {
			wrong = append(wrong, fmt.Errorf("re-encrypt %s.%s: %w", c.Table, c.Name, err))
		}
	}
	return errors.Join(wrong...)
}

func (r *Rotation) reseal(ctx context.Context, c Column, end time.Time) error {
	var left []uuid.UUID // they would be found again
	var broken error
	for time.Now().Before(end) {
		primary, err := r.keys.Primary(ctx) // each time: another process may have made another one primary
		if err != nil {
			return err
		}
		found, err := r.rows.notUnder(ctx, c, primary, left)
		if err != nil || len(found) == 0 {
			return errors.Join(err, broken)
		}
		// All is computed before the statement that writes, so that rows are locked for as long as that takes and no longer.
		var ready []row
		for _, old := range found {
			plaintext, err := r.keys.Open(ctx, old.Sealed, c.Table, c.Name, old.ID)
			if err != nil {
				broken = err // one is enough to begin with
				continue
			}
			if old.resealed, err = r.keys.Seal(ctx, plaintext, c.Table, c.Name, old.ID); err != nil {
				return err
			}
			ready = append(ready, old)
		}
		done, err := r.rows.replace(ctx, c, ready)
		if err != nil {
			return errors.Join(err, broken)
		}
		for _, old := range found {
			if !slices.Contains(done, old.ID) {
				left = append(left, old.ID)
			}
		}
		if len(left) > mostLeft {
			return broken
		}
	}
	return broken
}

// KeyUse is one key, and how many rows hold what it sealed.
type KeyUse struct {
	Key   string // its id, or "other" for what no key of ours has sealed
	State string // "primary"; "next" until it has settled; "old"; "unknown"
	Rows  int64
}

// Status counts the rows of every key.
func (r *Rotation) Status(ctx context.Context) ([]KeyUse, error) {
	keys, err := r.keys.Data(ctx)
	if err != nil {
		return nil, err
	}
	rows := map[string]int64{}
	for _, c := range r.columns {
		uses, err := r.rows.countAll(ctx, c, keys)
		if err != nil {
			return nil, err
		}
		for _, u := range uses {
			rows[u.Key] += u.Rows
		}
	}
	var list []KeyUse
	waiting, _ := next(keys)
	for _, k := range keys {
		state := "old"
		switch {
		case k.Primary:
			state = "primary"
		case k == waiting:
			state = "next"
		}
		list = append(list, KeyUse{decimal(k.ID), state, rows[decimal(k.ID)]})
	}
	if n := rows[foreignKeys]; n > 0 {
		list = append(list, KeyUse{foreignKeys, "unknown", n})
	}
	return list, nil
}

// Watch adds to the metrics how many rows each key has sealed, column by column: that an old one is at 0 says that a rotation is at its end.
// It is read from the database, so each instance tells the same.
func (r *Rotation) Watch(meter metric.Meter, module string) error {
	gauge, err := meter.Int64ObservableGauge("seal.rows",
		metric.WithDescription("Rows that hold a ciphertext of this key; 10000 stands for that many or more."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		ctx, cancel := context.WithTimeout(ctx, watchTime)
		defer cancel()
		keys, err := r.keys.Data(ctx)
		if err != nil {
			return nil // no figure, rather than a wrong one; that the database is away is told elsewhere
		}
		for _, c := range r.columns {
			uses, err := r.rows.count(ctx, c, keys)
			if err != nil {
				return nil
			}
			for _, u := range uses {
				o.ObserveInt64(gauge, u.Rows, metric.WithAttributes(attribute.String("module", module),
					attribute.String("table", c.Table), attribute.String("column", c.Name), attribute.String("key", u.Key)))
			}
		}
		return nil
	}, gauge)
	return err
}

// span is a part of all that ciphertexts can begin with, from low to before high, and whose they are.
type span struct {
	key       string
	low, high []byte
}

// spans are those of the keys, and of what lies between them. An index counts each without looking at the others.
func spans(keys []Key) (all []span) {
	sorted := slices.SortedFunc(slices.Values(keys), func(a, b Key) int { return bytes.Compare(prefixOf(a.ID), prefixOf(b.ID)) })
	low := []byte{}
	for _, k := range sorted {
		prefix := prefixOf(k.ID)
		after := append(bytes.Clone(prefix), 0) // nothing comes between the two
		all = append(all, span{foreignKeys, low, prefix}, span{decimal(k.ID), prefix, after})
		low = after
	}
	return append(all, span{foreignKeys, low, bytes.Repeat([]byte{255}, prefixSize+1)})
}

func decimal(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
