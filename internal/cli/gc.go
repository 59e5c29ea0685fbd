package cli

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
)

func (a *app) gcCmd() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Remove the artifacts and logs that nothing needs",
		Long: `Removes the artifacts that no release, compose, deployment, statement of provenance, wave or
recent build refers to, and old logs. The server does this daily by itself; its flags
--keep-builds and --keep-logs say what is recent. Whatever was used in the last day stays.
Of old waves only how they ended stays; what is asked for again is built again.`,
		Example: "  slipway gc --dry-run\n  slipway gc -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Collect(cmd.Context(), dry)
			if err != nil {
				return err
			}
			return a.print(r, func() *table {
				t := newTable("what", "because of", "blobs", "size")
				for _, why := range slices.Sorted(maps.Keys(r.Kept)) {
					t.add("kept", why, r.Kept[why].Blobs, size(r.Kept[why].Bytes))
				}
				what := "removed"
				if dry {
					what = "would go"
				}
				t.add(what, "nothing needs it", r.Removed.Blobs, size(r.Removed.Bytes))
				if r.Waves > 0 {
					t.add(what, fmt.Sprintf("items of %d old waves", r.Waves), "", "")
				}
				return t
			})
		},
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell what is kept by what, and what would go")
	return cmd
}

// size writes bytes for people.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
