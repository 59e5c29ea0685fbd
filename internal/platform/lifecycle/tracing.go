package lifecycle

import (
	"context"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"slipway.dev/slipway/internal/platform/jobs"
)

// Tracer makes spans of requests and jobs and sends them by OTLP over HTTP. The exporter reads the usual variables
// (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, ...).
type Tracer struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
	stop     func(context.Context) error
}

// NewTracer makes a tracer that exports if endpoint is set (the value of OTEL_EXPORTER_OTLP_ENDPOINT), and one that does
// nothing, at no cost, if it is not.
func NewTracer(ctx context.Context, endpoint, version string) (*Tracer, error) {
	if endpoint == "" {
		p := noop.NewTracerProvider()
		return &Tracer{provider: p, tracer: p.Tracer("slipway"), stop: func(context.Context) error { return nil }}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"))
	if err != nil {
		return nil, err
	}
	res := resource.NewSchemaless(attribute.String("service.name", "slipway"), attribute.String("service.version", version))
	p := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(res))
	return &Tracer{provider: p, tracer: p.Tracer("slipway"), stop: p.Shutdown}, nil
}

// Part flushes the spans when the process stops.
func (t *Tracer) Part() Part { return Part{Name: "traces", Stop: t.stop} }

// HTTP makes a span of every request, as a child of the caller's if it tells one.
func (t *Tracer) HTTP(next http.Handler) http.Handler {
	return otelhttp.NewHandler(next, "http", otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithPropagators(propagation.TraceContext{}))
}

// Job makes a span of one run of a job; it fits [jobs.Config].Around.
func (t *Tracer) Job(ctx context.Context, c jobs.Claim, do func(context.Context) error) error {
	ctx, span := t.tracer.Start(ctx, "job "+c.Kind, trace.WithAttributes(attribute.String("slipway.job.key", c.Key),
		attribute.Int("slipway.job.attempts", c.Attempts)))
	defer span.End()
	err := do(ctx)
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	return err
}
