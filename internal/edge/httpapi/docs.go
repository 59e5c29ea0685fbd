package httpapi

import (
	_ "embed"
	"net/http"
)

// renderer is RapiDoc 9.3.8 (MIT, docs/rapidoc-LICENSE.txt), compressed as its npm package ships it.
//
//go:embed docs/rapidoc-min.js.gz
var renderer []byte

const docsPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Slipway API</title>
<script type="module" src="/api/docs/rapidoc.js"></script></head>
<body>
<rapi-doc spec-url="/api/openapi.json" load-fonts="false" regular-font="system-ui, sans-serif" mono-font="ui-monospace, monospace"
 render-style="read" theme="light" primary-color="#0b6bcb" schema-style="table" show-header="false" allow-server-selection="false"
 allow-spec-file-download="false" allow-spec-url-load="false" fetch-credentials="include" persist-auth="true">
<p slot="footer"><a href="/api/openapi.json">openapi.json</a> · <a href="/api/openapi.yaml">openapi.yaml</a></p>
</rapi-doc>
<noscript>The API is described at <a href="/api/openapi.yaml">/api/openapi.yaml</a>.</noscript>
</body></html>
`

func serveDocsPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:")
	w.Write([]byte(docsPage)) //nolint:errcheck // the caller is gone
}

func serveRenderer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
	w.Header().Set("Content-Encoding", "gzip") // every browser takes it
	w.Header().Set("Cache-Control", "public, max-age=86400")
	w.Write(renderer) //nolint:errcheck // the caller is gone
}
