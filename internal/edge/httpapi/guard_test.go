package httpapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/store/storetest"
)

type description struct {
	OpenAPI string `json:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string                `json:"operationId"`
		Role        auth.Role             `json:"x-slipway-role"`
		Summary     string                `json:"summary"`
		Security    []map[string][]string `json:"security"`
	} `json:"paths"`
}

func describe(t *testing.T, s *httpapitest.Server) description {
	t.Helper()
	resp, err := http.Get(s.URL + "/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var d description
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1.") || len(d.Paths) < 8 {
		t.Fatalf("openapi %q with %d paths", d.OpenAPI, len(d.Paths))
	}
	return d
}

// Every operation refuses whoever has no token, a wrong one, or one of a role that does not cover its own. What passes the guard with
// the right role fails for other reasons here, but never for that one.
func TestEveryOperationChecks(t *testing.T) {
	s := httpapitest.Serve(t, storetest.Open(t), nil)
	roles := auth.Roles()
	tokens := map[auth.Role]string{}
	for _, r := range roles {
		tokens[r] = s.Token(r)
	}
	call := func(method, path, token string) int {
		req, err := http.NewRequestWithContext(t.Context(), strings.ToUpper(method), s.URL+path, strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10)) //nolint:errcheck // only the status matters
		return resp.StatusCode
	}
	ids := map[string]string{}
	for path, operations := range describe(t, s).Paths {
		for method, o := range operations {
			name := strings.ToUpper(method) + " " + path
			if twin := ids[o.OperationID]; o.OperationID == "" || twin != "" {
				t.Errorf("%s: the operation id %q is empty or that of %s", name, o.OperationID, twin)
			}
			ids[o.OperationID] = name
			if o.Summary == "" || len(o.Security) == 0 {
				t.Errorf("%s: no summary, or no security", name)
			}
			if !slices.Contains(roles, o.Role) {
				t.Errorf("%s: needs the role %q", name, o.Role)
				continue
			}
			concrete := strings.NewReplacer("{", "", "}", "", "...", "").Replace(path)
			if got := call(method, concrete, ""); got != http.StatusUnauthorized {
				t.Errorf("%s without a token: %d", name, got)
			}
			if got := call(method, concrete, "slw_invented"); got != http.StatusUnauthorized {
				t.Errorf("%s with an unknown token: %d", name, got)
			}
			for _, r := range roles {
				if r.Covers(o.Role) {
					continue
				}
				if got := call(method, concrete, tokens[r]); got != http.StatusForbidden {
					t.Errorf("%s as %s: %d", name, r, got)
				}
			}
			if forWorkers := strings.HasPrefix(path, "/api/v1/farm/"); forWorkers != (o.Role == auth.Worker) {
				t.Errorf("%s: needs the role %q", name, o.Role)
			}
		}
	}
}
