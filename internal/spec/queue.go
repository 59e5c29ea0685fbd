package spec

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Queue says how the product's integration queue works.
type Queue struct {
	Policy    string   `json:"policy,omitempty" yaml:"policy,omitempty"`       // "slipway" (default): speculate; "serial": one entry at a time
	Depth     int      `json:"depth,omitempty" yaml:"depth,omitempty"`         // so many entries are worked on at once; 0 (default): as many as there is room for
	Predictor string   `json:"predictor,omitempty" yaml:"predictor,omitempty"` // what tells how likely an entry lands: "historical" (default), "logistic", "none"
	Flakes    Flakes   `json:"flakes,omitzero" yaml:"flakes,omitempty"`        // when a failure is believed
	Retries   int      `json:"retries" yaml:"retries"`                         // how often a run that infrastructure or the time limit ended is tried again; default 2
	Supersede bool     `json:"supersede,omitempty" yaml:"supersede,omitempty"` // a newer version of a component takes the place of one that waits and has not begun
	Advisory  []string `json:"advisory,omitempty" yaml:"advisory,omitempty"`   // experiments that run without a vote
	Hours     []Hours  `json:"hours,omitempty" yaml:"hours,omitempty"`         // when entries may begin; empty: always
	Zone      string   `json:"zone,omitempty" yaml:"zone,omitempty"`           // of Hours: "Europe/Berlin"; default UTC
}

// Flakes says when a failed test is believed.
type Flakes struct {
	Reruns int `json:"reruns" yaml:"reruns"` // how often a failed test or experiment runs again before an entry is blamed; one pass is a pass. Default 0
}

// Hours is a span of every week: from From to To (minutes after midnight) on each of Days.
type Hours struct {
	Days []time.Weekday `json:"days" yaml:"days"`
	From int            `json:"from" yaml:"from"`
	To   int            `json:"to" yaml:"to"`
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseHours reads "mon-fri 08:00-18:00": a day or a span of days, and a time span within the day.
func ParseHours(text string) (Hours, error) {
	bad := fmt.Errorf("%q is no span of hours", text)
	days, span, ok := strings.Cut(strings.ToLower(strings.TrimSpace(text)), " ")
	if !ok {
		return Hours{}, bad
	}
	first, last, several := strings.Cut(days, "-")
	from := slices.Index(weekdays, first)
	to := from
	if several {
		to = slices.Index(weekdays, last)
	}
	if from < 0 || to < 0 {
		return Hours{}, bad
	}
	var h Hours
	for d := from; ; d = (d + 1) % 7 {
		h.Days = append(h.Days, time.Weekday(d))
		if d == to {
			break
		}
	}
	start, end, _ := strings.Cut(strings.TrimSpace(span), "-")
	if h.From, ok = minutes(start); !ok {
		return Hours{}, bad
	}
	if h.To, ok = minutes(end); !ok || h.To <= h.From {
		return Hours{}, bad
	}
	return h, nil
}

func minutes(clock string) (int, bool) {
	if clock == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", clock)
	return t.Hour()*60 + t.Minute(), err == nil
}

// Open reports whether entries may begin at a moment, and if not, when they next may.
func (q Queue) Open(at time.Time) (open bool, next time.Time) {
	if len(q.Hours) == 0 {
		return true, time.Time{}
	}
	zone, err := time.LoadLocation(q.Zone)
	if err != nil {
		zone = time.UTC // the parser refuses what this machine does not know
	}
	at = at.In(zone)
	for day := range 8 {
		date := time.Date(at.Year(), at.Month(), at.Day()+day, 0, 0, 0, 0, zone)
		for _, h := range q.Hours {
			if !slices.Contains(h.Days, date.Weekday()) {
				continue
			}
			from := time.Date(date.Year(), date.Month(), date.Day(), 0, h.From, 0, 0, zone)
			to := time.Date(date.Year(), date.Month(), date.Day(), 0, h.To, 0, 0, zone)
			switch {
			case !at.Before(from) && at.Before(to):
				return true, time.Time{}
			case at.Before(from) && (next.IsZero() || from.Before(next)):
				next = from
			}
		}
	}
	return false, next
}

func (f *file) queue(n *node) Queue {
	q := Queue{Policy: "slipway", Predictor: "historical", Retries: 2, Zone: "UTC"}
	if n == nil {
		return q
	}
	q.Policy = orText(n.str("policy"), q.Policy)
	q.Depth = n.integer("depth")
	q.Predictor = orText(n.str("predictor"), q.Predictor)
	q.Supersede = n.boolean("supersede")
	q.Advisory = n.list("advisory")
	f.unique(n.get("advisory"), "the experiment")
	if n.get("retries") != nil {
		q.Retries = n.integer("retries")
	}
	q.Flakes.Reruns = n.get("flakes").integer("reruns")
	if zone := n.get("zone"); zone != nil {
		q.Zone = zone.text
		if _, err := time.LoadLocation(q.Zone); err != nil {
			f.at(zone, "write a name of the time zone database, as in Europe/Berlin", "no time zone %q", q.Zone)
		}
	}
	if hours := n.get("hours"); hours != nil {
		for _, item := range hours.items {
			h, err := ParseHours(item.text)
			if err != nil {
				f.at(item, "write days and times, as in mon-fri 08:00-18:00", "%v", err)
			}
			q.Hours = append(q.Hours, h)
		}
	}
	return q
}
