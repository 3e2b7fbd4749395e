package router

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(carryEnv) != "" {
		carry()
	}
	goleak.VerifyTestMain(m)
}
