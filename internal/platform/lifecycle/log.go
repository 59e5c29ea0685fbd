package lifecycle

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"

	"slipway.dev/slipway/internal/slipway"
)

// NewLogger makes a logger that writes lines of format "text" or "json" from the level on ("debug", "info", "warn",
// "error"). A record that is logged inside a trace carries its ids.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "unknown log level %q", level).Try("use debug, info, warn or error")
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(traced{slog.NewTextHandler(w, opts)}), nil
	case "json":
		return slog.New(traced{slog.NewJSONHandler(w, opts)}), nil
	}
	return nil, slipway.Errorf(slipway.Invalid, "unknown log format %q", format).Try("use text or json")
}

// traced adds the trace and span of the context to each record.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r.AddAttrs(slog.String("trace", sc.TraceID().String()), slog.String("span", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
