package capture_test

import (
	"reflect"
	"testing"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/sched"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/jsondoc"
)

// TestDocumentedLedgerKeysAreTheEncodedOnes compares the tables of docs/JSON.md,
// section "ledger", with the structs that WriteJSON encodes.
func TestDocumentedLedgerKeysAreTheEncodedOnes(t *testing.T) {
	jsondoc.Check(t, "../docs/JSON.md", "ledger", map[string]reflect.Type{
		"the ledger":     capture.LedgerDocument,
		"account":        reflect.TypeFor[capture.Account](),
		"missed":         reflect.TypeFor[capture.Count](),
		"clock":          reflect.TypeFor[capture.ClockAccount](),
		"device":         reflect.TypeFor[capture.DeviceComparison](),
		"queues":         reflect.TypeFor[capture.QueueAccount](),
		"pool":           reflect.TypeFor[capture.PoolAccount](),
		"rules":          reflect.TypeFor[capture.RuleCount](),
		"listeners":      reflect.TypeFor[capture.ListenerAccount](),
		"older_detached": reflect.TypeFor[capture.DetachedAccount](),
		"groups":         reflect.TypeFor[stream.GroupStats](),
		"members":        reflect.TypeFor[stream.MemberStats](),
		"gaps":           reflect.TypeFor[sched.Bucket](),
		"worst_gaps":     reflect.TypeFor[sched.Gap](),
		"loss_causes":    reflect.TypeFor[sched.LossCause](),
		"worst":          reflect.TypeFor[sched.Loss](),
		"storers":        reflect.TypeFor[capture.StorerAccount](),
		"failed":         reflect.TypeFor[capture.ByteCount](),
	})
}
