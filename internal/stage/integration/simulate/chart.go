package simulate

import (
	"fmt"
	"math"
	"strings"
)

// Chart draws the turnaround of policies in relation to the oracle's, on a logarithmic scale: P50 and P95 as bars, one pair for each
// policy. It is an SVG that follows the reader's light or dark colours.
func Chart(title string, results []Result) string {
	const (
		left, right, top, row, bar = 150, 90, 64, 46, 15
		width                      = 760
	)
	most := 2.0
	for _, r := range results {
		most = max(most, r.P50Ratio, r.P95Ratio)
	}
	decades := math.Log10(most) * 1.02
	least := -0.15 // a little below 1, since batches can beat the oracle
	scale := float64(width-left-right) / (decades - least)
	x := func(ratio float64) float64 {
		return left + scale*(math.Log10(max(ratio, math.Pow(10, least)))-least)
	}
	height := top + row*len(results) + 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.t { font-size: 15px; font-weight: 600 } .s { fill: #57606a; font-size: 12px }
.g { stroke: #d0d7de } .o { stroke: #57606a; stroke-dasharray: 4 3 }
.a { fill: #0969da } .b { fill: #8250df } .bg { fill: #ffffff }
@media (prefers-color-scheme: dark) {
 text { fill: #e6edf3 } .s { fill: #9da7b3 } .g { stroke: #30363d } .o { stroke: #9da7b3 } .a { fill: #58a6ff } .b { fill: #bc8cff } .bg { fill: #0d1117 }
}
</style>
<rect class="bg" width="100%%" height="100%%"/>
<text class="t" x="16" y="24">%s</text>
<rect class="a" x="16" y="36" width="11" height="11"/><text class="s" x="32" y="46">P50</text>
<rect class="b" x="72" y="36" width="11" height="11"/><text class="s" x="88" y="46">P95 turnaround of landed entries, as a multiple of the oracle's (logarithmic)</text>
`, width, height, width, height, escape(title), escape(title))
	for exp := 0; math.Pow10(exp) <= most*1.05; exp++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow10(exp)
			if v > most*1.05 {
				break
			}
			class := "g"
			if v == 1 {
				class = "o"
			}
			fmt.Fprintf(&b, `<line class="%s" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/><text class="s" text-anchor="middle" x="%.1f" y="%d">%g</text>
`, class, x(v), top, x(v), height-30, x(v), height-14, v)
		}
	}
	for i, r := range results {
		y := top + row*i + 8
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>
`, left-10, y+bar+4, escape(r.Policy))
		for k, v := range []float64{r.P50Ratio, r.P95Ratio} {
			class := []string{"a", "b"}[k]
			fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d"/><text class="s" x="%.1f" y="%d">%s×</text>
`, class, left, y+k*(bar+1), x(v)-left, bar, x(v)+5, y+k*(bar+1)+12, ratio(v))
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func ratio(v float64) string {
	if v >= 20 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
