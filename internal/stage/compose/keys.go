package compose

import (
	"io"
	"slices"
	"time"

	"slipway.dev/slipway/internal/stage/compose/apkrepo"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/pgp"
	"slipway.dev/slipway/internal/stage/compose/plan"
)

// keys sign one compose.
type keys struct {
	pgp *pgp.Key
	apk *apkrepo.Key // nil when no package is an APK
}

// keys opens the keys that the plan asks for.
func (s *Service) keys(p plan.Plan) (k keys, err error) {
	if k.pgp, err = s.key(); err != nil {
		return k, err
	}
	for _, v := range p.Variants {
		for _, it := range v.Items {
			if k.apk == nil && slices.Contains(pack.Formats(it.Package), pack.APK) {
				if k.apk, err = s.apkKey(); err != nil {
					return k, err
				}
			}
		}
	}
	return k, nil
}

// signers names the keys: packages signed by others are other packages.
type signers struct{ pgp, apk string }

func (k keys) names() signers {
	by := signers{pgp: k.pgp.Fingerprint()}
	if k.apk != nil {
		by.apk = k.apk.Name()
	}
	return by
}

func (k keys) pack() pack.Keys {
	out := pack.Keys{Binary: k.pgp.Sign, Armored: func(data io.Reader, at time.Time) ([]byte, error) { return k.pgp.Armored(data, at) }}
	if k.apk != nil {
		out.APK, out.APKName = k.apk.Sign, k.apk.Name()
	}
	return out
}
