package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// NewLog writes JSON lines that carry the trace and span they were written in. A slog.LevelVar is a level that changes.
func NewLog(w io.Writer, level slog.Leveler, attrs ...slog.Attr) *slog.Logger {
	return slog.New(&traced{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}).WithAttrs(attrs)})
}

type traced struct{ slog.Handler }

func (h *traced) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h *traced) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &traced{h.Handler.WithAttrs(attrs)}
}
func (h *traced) WithGroup(name string) slog.Handler { return &traced{h.Handler.WithGroup(name)} }

// Lines is a writer for logs that nobody waits for: a disk that is full or a collector that hangs must not hold up those who have something to
// say. What cannot be written by then is lost, counted (log.lines.lost), and said in the log as soon as that can be written again.
type Lines struct {
	w     io.Writer
	queue chan line
	size  atomic.Int64 // bytes of what waits
	lost  atomic.Int64 // lines, in all
}

// line is one of a log, or a request to say when everything before it is written.
type line struct {
	text    []byte
	written chan<- struct{}
}

const (
	linesWaiting = 8192
	bytesWaiting = 16 << 20 // whatever is in them
)

// NewLines writes to w, each line in one call and one after the other.
func NewLines(w io.Writer) *Lines {
	l := &Lines{w: w, queue: make(chan line, linesWaiting)}
	_, _ = otel.Meter("example.com/groundwork/pkg/telemetry").Int64ObservableCounter("log.lines.lost", // a constant name
		metric.WithDescription("Lines of the log that could not be written in time."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error { o.Observe(l.lost.Load()); return nil }))
	go l.write()
	return l
}

// Write takes a line and returns at once.
func (l *Lines) Write(p []byte) (int, error) {
	if l.size.Add(int64(len(p))) <= bytesWaiting {
		select {
		case l.queue <- line{text: bytes.Clone(p)}:
			return len(p), nil
		default:
		}
	}
	l.size.Add(int64(-len(p)))
	l.lost.Add(1)
	return len(p), nil
}

func (l *Lines) write() {
	var said int64
	for next := range l.queue {
		if n := l.lost.Load() - said; n > 0 {
			said += n
			_, _ = fmt.Fprintf(l.w, `{"time":%q,"level":"WARN","msg":"lines of the log were lost","lines":%d}`+"\n", time.Now().Format(time.RFC3339Nano), n)
		}
		if next.written != nil {
			close(next.written)
			continue
		}
		_, _ = l.w.Write(next.text) // whom to tell?
		l.size.Add(int64(-len(next.text)))
	}
}

// Flush waits until everything is written, for a time.
func (l *Lines) Flush(patience time.Duration) {
	end := time.After(patience)
	written := make(chan struct{})
	select {
	case l.queue <- line{written: written}:
	case <-end:
		return
	}
	select {
	case <-written:
	case <-end:
	}
}
