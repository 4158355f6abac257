package pci

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckNameOpensNoDevice(t *testing.T) {
	opened := false
	open := func(string) (Device, error) { opened = true; return nil, errors.New("opened") }
	Register("checked", open)
	Register("unchecked", open)
	bad := errors.New("no such thing")
	RegisterCheck("checked", func(rest string) error {
		if rest == "bad" {
			return bad
		}
		return nil
	})
	require.NoError(t, CheckName("checked:good"))
	require.ErrorIs(t, CheckName("checked:bad"), bad)
	require.NoError(t, CheckName("unchecked:anything"))
	require.False(t, opened)
	require.ErrorContains(t, CheckName("smoke-signal:x"), "want a PCI address (0000:03:00.0), an interface name, or a scheme of this program (")
	require.ErrorContains(t, CheckName(""), "want a PCI address")
	require.Error(t, CheckName("ffff:ff:1f.7"))
	require.Error(t, CheckName("no-such-interface"))
	require.Panics(t, func() { RegisterCheck("checked", nil) })

	for name, want := range map[string]bool{"0000:03:00.0": true, "eth2": true, "03:00": true, "sim:gen": false, "vfio-user:/x": false, "": false} {
		require.Equal(t, want, Kernel(name), name)
	}
}
