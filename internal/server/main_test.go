package server_test

import (
	"testing"

	"slipway.dev/slipway/internal/server/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m) }
