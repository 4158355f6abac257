package control

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture"
)

// idle returns an engine with one queue that is not started.
func idle(t *testing.T) *capture.Engine {
	e, _ := engine(t, 1)
	return e
}

// two serves two ports, of which only the first is stored; rotated counts its
// rotations.
func two(t *testing.T) (ask func(method, path, body string) *httptest.ResponseRecorder, rotated *int) {
	t.Helper()
	rotated = new(int)
	h := newHandler([]Port{
		{Name: "a", Engine: idle(t), Rotate: func() { *rotated++ }},
		{Name: "b", Engine: idle(t)},
	}, Config{})
	t.Cleanup(h.close)
	return func(method, path, body string) *httptest.ResponseRecorder {
		return request(h, method, path, body)
	}, rotated
}

func TestSeveralPortsAreSelectedByName(t *testing.T) {
	ask, _ := two(t)
	w := ask(http.MethodGet, "/v1/ports", "")
	require.Equal(t, http.StatusOK, w.Code)
	var p Ports
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.Len(t, p.Ports, 2)
	require.Equal(t, "a", p.Ports[0].Name)
	require.NotEmpty(t, p.Ports[0].Device)

	for _, path := range []string{"/v1/status", "/v1/listeners", "/v1/rules", "/v1/ledger"} {
		w = ask(http.MethodGet, path, "")
		require.Equal(t, http.StatusBadRequest, w.Code)
		require.Contains(t, w.Body.String(), "2 ports are captured here: say which one is meant (hpcapctl --port NAME, or ?port=NAME); the ports are a, b")
		require.Equal(t, http.StatusOK, ask(http.MethodGet, path+"?port=b", "").Code)
		w = ask(http.MethodGet, path+"?port=c", "")
		require.Equal(t, http.StatusNotFound, w.Code)
		require.Contains(t, w.Body.String(), `no port \"c\" is captured here; the ports are a, b`)
	}
	var s Status
	require.NoError(t, json.Unmarshal(ask(http.MethodGet, "/v1/status?port=b", "").Body.Bytes(), &s))
	require.Equal(t, "b", s.Name)

	require.Equal(t, http.StatusOK, ask(http.MethodPut, "/v1/rules?queue=0&port=b", `{"rules":"drop"}`).Code)
	require.Contains(t, ask(http.MethodGet, "/v1/rules?port=b", "").Body.String(), `"rules": "drop"`)
	require.NotContains(t, ask(http.MethodGet, "/v1/rules?port=a", "").Body.String(), "drop")
}

func TestRotateMeansAllPortsThatStoreUnlessOneIsSelected(t *testing.T) {
	ask, rotated := two(t)
	for path, want := range map[string]int{"/v1/rotate": http.StatusOK, "/v1/rotate?port=a": http.StatusOK, "/v1/rotate?port=b": http.StatusConflict, "/v1/rotate?port=c": http.StatusNotFound} {
		before := *rotated
		w := ask(http.MethodPost, path, "")
		require.Equal(t, want, w.Code, path)
		if want != http.StatusOK {
			require.Equal(t, before, *rotated)
			continue
		}
		require.Equal(t, before+1, *rotated)
		var done Ports
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &done))
		require.Len(t, done.Ports, 1)
		require.Equal(t, "a", done.Ports[0].Name)
	}
	require.Equal(t, http.StatusMethodNotAllowed, ask(http.MethodGet, "/v1/rotate", "").Code)
}

func TestClientOfAPortSelectsIt(t *testing.T) {
	path := filepath.Join(folder(t), "control.sock")
	var rotated []string
	s, err := ServePorts([]Port{
		{Name: "a", Engine: idle(t), Rotate: func() { rotated = append(rotated, "a") }},
		{Name: "b", Engine: idle(t), Rotate: func() { rotated = append(rotated, "b") }},
	}, path, Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	c := NewClient(path)
	defer c.Close()
	_, err = c.Status(t.Context())
	require.ErrorContains(t, err, "say which one is meant")
	st, err := c.Port("b").Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "b", st.Name)
	_, err = c.Port("b").SetRules(t.Context(), 0, "64")
	require.NoError(t, err)
	f, err := c.Port("a").SetRules(t.Context(), capture.AllQueues, "none")
	require.NoError(t, err)
	require.Equal(t, "none", f.Queues[0].Rules)
	p, err := c.Ports(t.Context())
	require.NoError(t, err)
	require.Len(t, p.Ports, 2)
	p, err = c.Port("b").Rotate(t.Context())
	require.NoError(t, err)
	require.Len(t, p.Ports, 1)
	_, err = c.Rotate(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"b", "a", "b"}, rotated)
}
