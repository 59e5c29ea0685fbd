package model

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"slipway.dev/slipway/internal/slipway"
)

// explain turns what Starlark says into one error with the position in the model. Several problems of one
// file are told together.
func explain(file string, err error) error {
	var list resolve.ErrorList
	if errors.As(err, &list) {
		first := list[0]
		e := slipway.Errorf(slipway.Invalid, "%s", first.Msg).At(position(first.Pos))
		var more []string
		for _, other := range list[1:] {
			more = append(more, position(other.Pos)+": "+other.Msg)
		}
		if more != nil {
			e.Message += "; " + strings.Join(more, "; ")
		}
		return hint(e)
	}
	var parse syntax.Error
	if errors.As(err, &parse) {
		return slipway.Errorf(slipway.Invalid, "%s", parse.Msg).At(position(parse.Pos))
	}
	var eval *starlark.EvalError
	if !errors.As(err, &eval) {
		var known *slipway.Error
		if errors.As(err, &known) {
			return err
		}
		return slipway.Errorf(slipway.Invalid, "%s", err).At(file)
	}
	where, callers := frames(eval.CallStack)
	var known *slipway.Error
	if errors.As(err, &known) {
		if known.Where != "" { // from a file that this one loads
			return known
		}
		e := *known
		e.Where = where
		e.Message += callers
		if e.Kind == slipway.NotFound { // a model that names a missing file is wrong itself
			e.Kind = slipway.Invalid
		}
		return &e
	}
	return hint(slipway.Errorf(slipway.Invalid, "%s%s", eval.Msg, callers).At(where))
}

// frames returns the innermost position in Starlark source, and the ones that called it.
func frames(stack starlark.CallStack) (where, callers string) {
	var at []string
	for i := range stack {
		if frame := stack.At(i); frame.Pos.Line > 0 {
			at = append(at, position(frame.Pos))
		}
	}
	if len(at) == 0 {
		return "", ""
	}
	if len(at) > 1 {
		callers = ", called from " + strings.Join(at[1:], ", ")
	}
	return at[0], callers
}

func position(p syntax.Position) string { return fmt.Sprintf("%s:%d:%d", p.Filename(), p.Line, p.Col) }

// hint adds what to do about errors that Starlark words for its own people.
func hint(e *slipway.Error) *slipway.Error {
	switch {
	case strings.Contains(e.Message, "too many steps"):
		e.Message = "the model takes too many steps" + strings.TrimPrefix(e.Message, "Starlark computation cancelled: too many steps")
		return e.Try("look for loops over more than is needed")
	case strings.Contains(e.Message, "called recursively"):
		return e.Try("a model has no recursion; use a loop")
	case strings.Contains(e.Message, "undefined: "):
		return e.Try("a model knows nodes, release, compose, product, read, struct and json; resources are declared by methods of a node, such as n.file(...)")
	case strings.Contains(e.Message, "no such key"), strings.Contains(e.Message, "not in dict"):
		return e.Try("use .get(KEY, DEFAULT) for what a node may not have")
	}
	return e
}
