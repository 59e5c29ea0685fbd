package server

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
)

// metrics is what the server counts. HTTP counts itself (httpapi.Observe).
type metrics struct {
	registry *prometheus.Registry
	seconds  *prometheus.HistogramVec
}

func newMetrics(db *store.DB) *metrics {
	m := &metrics{registry: newRegistry(), seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "slipway_job_seconds", Help: "Time of one run of a job, by kind and how it ended.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
	}, []string{"kind", "outcome"})}
	m.registry.MustRegister(m.seconds, jobStates{db})
	return m
}

// around times a job inside the given wrapper.
func (m *metrics) around(wrap func(context.Context, jobs.Claim, func(context.Context) error) error) func(context.Context, jobs.Claim, func(context.Context) error) error {
	return func(ctx context.Context, c jobs.Claim, do func(context.Context) error) error {
		begin := time.Now()
		err := wrap(ctx, c, do)
		outcome := "done"
		if err != nil {
			outcome = string(slipway.KindOf(err))
		}
		m.seconds.WithLabelValues(c.Kind, outcome).Observe(time.Since(begin).Seconds())
		return err
	}
}

// jobStates counts jobs by state when it is asked.
type jobStates struct{ db *store.DB }

var jobsDesc = prometheus.NewDesc("slipway_jobs", "Jobs by state: waiting, running, backing-off, dead.", []string{"state"}, nil)

func (j jobStates) Describe(ch chan<- *prometheus.Desc) { ch <- jobsDesc }

func (j jobStates) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all, err := j.db.Jobs(ctx, 100_000)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(jobsDesc, err)
		return
	}
	states := map[string]int{"waiting": 0, "running": 0, "backing-off": 0, "dead": 0}
	for _, job := range all {
		states[job.State]++
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(jobsDesc, prometheus.GaugeValue, float64(n), state)
	}
}

func randomName() string { return strings.ToLower(rand.Text()[:8]) }
