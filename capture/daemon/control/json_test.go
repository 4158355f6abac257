package control

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/archive/retain"
	"github.com/ixcap/ixcap/capture/rules"
	"github.com/ixcap/ixcap/capture/stream"
	"github.com/ixcap/ixcap/internal/testtime"
)

// documented are the keys of each document in docs/JSON.md, section control.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/JSON.md")
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(text), "\n## control\n")
	require.True(t, ok, "docs/JSON.md has no section control")
	section, _, _ = strings.Cut(section, "\n## ")
	all := map[string][]string{}
	for part := range strings.SplitSeq(section, "\n### ") {
		name, table, found := strings.Cut(part, "\n")
		if !found || strings.HasPrefix(part, "\n") {
			continue
		}
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|").FindAllStringSubmatch(table, -1) {
			all[name] = append(all[name], row[1])
		}
	}
	return all
}

// keys are the JSON keys of a struct, in order.
func keys(of any) (all []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(of)) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, name)
	}
	return all
}

func TestEveryKeyIsDocumented(t *testing.T) {
	docs := documented(t)
	types := map[string]any{
		"status": Status{}, "rate": Rate{}, "queue": Queue{}, "socket": Socket{}, "listeners": Listeners{}, "listener": Listener{},
		"policy": policyRequest{}, "rules": Rules{}, "rules of a queue": QueueRules{}, "new rules": rulesRequest{}, "ports": Ports{}, "port": PortName{},
		"module": Module{}, "measured": Measured{}, "measure": Measure{}, "blink": blinkRequest{},
		"virtual function": VF{}, "mirror rule": Mirror{},
		"error": failure{}, "retention": Retention{}, "removed": Removed{}, "group": Group{}, "counters": Counters{}, "counter": capture.Counter{},
		"filters": Filters{}, "filter": Filter{}, "kind": FilterKind{}, "new filters": filtersRequest{},
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(types)), slices.Collect(maps.Keys(docs)))
	for name, v := range types {
		require.Equal(t, keys(v), docs[name], "### %s", name)
		for i, key := range keys(v) {
			require.Regexp(t, `^[a-z][a-z0-9]*(_[a-z0-9]+)*$`, key)
			f := reflect.VisibleFields(reflect.TypeOf(v))[i]
			if f.Type == reflect.TypeFor[time.Duration]() {
				require.True(t, strings.HasSuffix(key, "_ns"), "%s is a time", key)
			}
		}
	}
}

func TestAnswersHaveTheDocumentedKeys(t *testing.T) {
	e, p := engine(t, 1)
	attach(t, e, 0, "reader", stream.Options{})
	attach(t, e, 0, "member", stream.Options{Fanout: "group=2\nmode=lb\nmember=first"})
	detached := attach(t, e, 0, "detached", stream.Options{})
	require.NoError(t, detached.Close())
	r, err := rules.Parse("(udp) all; drop")
	require.NoError(t, err)
	require.NoError(t, e.SetRules(capture.AllQueues, r))
	require.NoError(t, e.Start())
	p.Queues[0].Put(10)
	h := handle(t, e, Config{})
	h.ports[0].Retained = func() retain.Stats {
		return retain.Stats{Removed: map[retain.Reason]retain.Count{retain.ForSize: {Files: 3, Bytes: 30}}, Failed: map[string]uint64{"EROFS": 1}}
	}
	require.Eventually(t, func() bool { return h.ports[0].listeners().DetachedTotal == 1 }, testtime.Deadline, time.Millisecond)
	docs := documented(t)
	// of requires that a JSON object has documented keys only.
	of := func(document string, object any) map[string]any {
		t.Helper()
		m, ok := object.(map[string]any)
		require.True(t, ok, "%s: %v", document, object)
		for key := range m {
			require.Contains(t, docs[document], key, document)
		}
		return m
	}
	first := func(list any) any {
		t.Helper()
		l, ok := list.([]any)
		require.True(t, ok)
		require.NotEmpty(t, l)
		return l[0]
	}
	get := func(path string) (v any) {
		t.Helper()
		w := request(h, http.MethodGet, path, "")
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &v))
		return v
	}
	status := of("status", get("/v1/status"))
	of("rate", status["rate"])
	retention := of("retention", status["retention"])
	require.Equal(t, map[string]any{"reason": "size", "files": 3.0, "bytes": 30.0}, of("removed", first(retention["removed"])))
	require.Equal(t, map[string]any{"EROFS": 1.0}, retention["failed_by_errno"])
	queue := of("queue", first(status["queues"]))
	of("listener", first(queue["listeners"]))
	listeners := of("listeners", get("/v1/listeners"))
	of("listener", first(listeners["attached"]))
	of("listener", first(listeners["detached"]))
	of("listener", get("/v1/listeners/reader"))
	group := of("group", first(listeners["groups"]))["account"].(map[string]any)
	require.EqualValues(t, 2, group["group"])
	require.Equal(t, "first", first(group["members"]).(map[string]any)["name"])
	require.Equal(t, "(udp) all; drop", of("rules of a queue", first(of("rules", get("/v1/rules"))["queues"]))["rules"])
	of("port", first(of("ports", get("/v1/ports"))["ports"]))
	of("error", get("/v1/listeners/other"))
}
