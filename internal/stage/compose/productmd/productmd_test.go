package productmd_test

import (
	"regexp"
	"testing"
	"time"

	"slipway.dev/slipway/internal/stage/compose/productmd"
)

var ferry = productmd.Compose{Short: "ferry", Name: "Ferry", Version: "2026.11.3", Date: time.Date(2026, 11, 3, 23, 0, 0, 0, time.UTC)}

// TestShort checks against the expression by which productmd.common validates short names of releases.
func TestShort(t *testing.T) {
	valid := regexp.MustCompile(`^[a-z]+([a-z0-9]*-?[a-z0-9]+)*$`)
	for in, want := range map[string]string{"ferry": "ferry", "My Product": "my-product", "7up": "up", "a--b_": "a-b", "é": "product", "robot-3": "robot-3"} {
		if got := productmd.Short(in); got != want || !valid.MatchString(got) {
			t.Errorf("Short(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestInfo(t *testing.T) {
	got, err := productmd.Info(ferry, []productmd.Variant{{ID: "Edge", Name: "Edge", Arches: []string{"x86_64"},
		Paths: map[string]map[string]string{"repository": {"x86_64": "Edge/x86_64/os"}}}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
    "header": {
        "type": "productmd.composeinfo",
        "version": "1.2"
    },
    "payload": {
        "compose": {
            "date": "20261103",
            "id": "ferry-2026.11.3-20261103.0",
            "respin": 0,
            "type": "production",
            "final": true
        },
        "release": {
            "internal": false,
            "is_layered": false,
            "name": "Ferry",
            "short": "ferry",
            "type": "ga",
            "version": "2026.11.3"
        },
        "variants": {
            "Edge": {
                "arches": [
                    "x86_64"
                ],
                "id": "Edge",
                "name": "Edge",
                "paths": {
                    "repository": {
                        "x86_64": "Edge/x86_64/os"
                    }
                },
                "type": "variant",
                "uid": "Edge"
            }
        }
    }
}
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
}

func TestRPMs(t *testing.T) {
	got, err := productmd.RPMs(ferry, []productmd.RPM{
		{Variant: "Edge", Arch: "x86_64", SourceNEVRA: "a-0:1-1.src", NEVRA: "a-0:1-1.x86_64", Path: "Edge/x86_64/os/Packages/a-1-1.x86_64.rpm", SigKey: "97446b54"},
		{Variant: "Edge", Arch: "x86_64", SourceNEVRA: "b-0:1-1.src", NEVRA: "b-0:1-1.noarch", Path: "Edge/x86_64/os/Packages/b-1-1.noarch.rpm"},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
    "header": {
        "type": "productmd.rpms",
        "version": "1.2"
    },
    "payload": {
        "compose": {
            "date": "20261103",
            "id": "ferry-2026.11.3-20261103.0",
            "respin": 0,
            "type": "production"
        },
        "rpms": {
            "Edge": {
                "x86_64": {
                    "a-0:1-1.src": {
                        "a-0:1-1.x86_64": {
                            "category": "binary",
                            "path": "Edge/x86_64/os/Packages/a-1-1.x86_64.rpm",
                            "sigkey": "97446b54"
                        }
                    },
                    "b-0:1-1.src": {
                        "b-0:1-1.noarch": {
                            "category": "binary",
                            "path": "Edge/x86_64/os/Packages/b-1-1.noarch.rpm",
                            "sigkey": null
                        }
                    }
                }
            }
        }
    }
}
`
	if string(got) != want {
		t.Errorf("got\n%s", got)
	}
}
