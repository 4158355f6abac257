package rules_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/capture/rules"
)

func TestAtMostCutsWhatKeepsMoreAndLeavesTheRulesAsTheyWere(t *testing.T) {
	for text, want := range map[string]string{
		"none":                              "96",
		"drop":                              "drop",
		"(udp) all; (tcp) 64; (arp) drop":   "(udp) 96; (tcp) 64; (arp) drop; 96",
		"(udp and port 53) 1000; (tcp) 128": "(udp and port 53) 96; (tcp) 96; 96",
		"(udp) 96; 10":                      "(udp) 96; 10",
	} {
		parsed, err := rules.Parse(text)
		require.NoError(t, err)
		before := parsed.String()
		less, possible := parsed.AtMost(96)
		require.True(t, possible, text)
		require.Equal(t, want, less.String(), text)
		require.Equal(t, before, parsed.String())
	}
	for _, text := range []string{"headers", "(udp) headers; 10"} {
		parsed, err := rules.Parse(text)
		require.NoError(t, err)
		_, possible := parsed.AtMost(96)
		require.False(t, possible, text)
	}
}
