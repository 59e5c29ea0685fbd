package build_test

import (
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store/storetest"
)

// TestModuleChecks runs a module's own check over the outputs of all of it, in rebuilds that concern a part of it.
func TestModuleChecks(t *testing.T) {
	w, shelf := newShelf(t, storetest.Open(t))
	w.product()
	rules := func(script string) {
		pin := w.commit("product", "products/ferry", map[string]string{"product.yaml": "product: ferry\ncomponents: {libwire: , codec: , link: , app: , never: }\nconfigurations: {main: }\n" +
			"modules:\n  wires: {components: [libwire, codec, never], checks: {fit: '" + script + "'}}\n"})
		delete(w.pins, "product")
		shelf.rules = pin.Commit
	}
	rules("grep -c wire $DEPS/libwire/wire.txt $DEPS/codec/codec.txt; [ ! -e $DEPS/link ]; touch $OUT/x $SRC/x")
	w.start()
	all := w.rebuilt(build.RebuildCause{All: true})
	fit := w.check(all, "codec", "wires.fit")
	if all.State != build.RebuildPassed || fit.Outcome != slipway.Pass || !strings.Contains(w.log(fit.Build), "codec.txt:1") {
		t.Fatalf("%s %+v", all.Reason, fit)
	}
	if r := shelf.result("rebuild/1", "wires.fit", "codec"); r.Outcome != slipway.Pass {
		t.Errorf("%+v", r)
	}
	b, err := w.s.Build(t.Context(), fit.Build)
	if err != nil || len(b.Inputs) != 2 || b.Inputs["libwire"] == "" || b.Inputs["codec"] == "" {
		t.Errorf("%+v %v", b, err)
	}

	// What only touches the library concerns the module; the rest of it is reused, and equal outputs are not checked again.
	w.commit("libwire", "components/libwire", map[string]string{"wire.txt": "# another comment\nwire 1\n"})
	cut := w.rebuilt(build.RebuildCause{Components: []string{"libwire"}})
	if c := w.check(cut, "codec", "wires.fit"); cut.State != build.RebuildPassed || !c.Reused || c.Build != fit.Build {
		t.Fatalf("%s %+v", cut.Reason, c)
	}

	// A check that fails holds up what needs its component.
	rules("echo the wires do not fit; exit 3")
	stuck := w.rebuilt(build.RebuildCause{All: true})
	if c := w.check(stuck, "codec", "wires.fit"); stuck.State != build.RebuildStuck || c.Outcome != slipway.Fail || !strings.Contains(c.Reason, "the wires do not fit") || stuck.Counts.Skipped != 1 {
		t.Fatalf("%s %+v", stuck.Reason, c)
	}
	// With another file the same rebuild goes on.
	rules("true")
	if err := w.s.RetryRebuild(t.Context(), stuck.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	if again := w.settled(stuck.ID, 2); again.State != build.RebuildPassed {
		t.Fatal(again.Reason)
	}
}
