package lab

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var labs atomic.Int32

// testName is of a lab that no other test and no other process has.
func testName() string { return fmt.Sprintf("t%dn%d", os.Getpid(), labs.Add(1)) }
