package pci

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const testToken = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"

func TestTokenIsCutFromTheName(t *testing.T) {
	for _, base := range []string{"0000:03:00.0", "eth2", "vfio-group:0000:03:00.0", ""} {
		name, token, err := CutVFToken(base + ",vf_token=" + testToken)
		require.NoError(t, err)
		require.Equal(t, base, name)
		require.Equal(t, testToken, token.String())
		require.EqualValues(t, []byte{0xbd, 0x8d, 0x9d, 0x2b, 0x5a}, token[:5])
		name, token, err = CutVFToken(base)
		require.NoError(t, err)
		require.Equal(t, base, name)
		require.Nil(t, token)
	}
	for _, bad := range []string{"", "x", testToken + "0", "bd8d9d2b5a5f4f5aa211f591514ba1f3", "zd8d9d2b-5a5f-4f5a-a211-f591514ba1f3", "bd8d9d2-b5a5f-4f5a-a211-f591514ba1f3"} {
		_, _, err := CutVFToken("0000:03:00.0,vf_token=" + bad)
		require.ErrorContains(t, err, "want a UUID")
	}
	require.True(t, Kernel("0000:03:00.0,vf_token="+testToken))
}

func FuzzParseVFToken(f *testing.F) {
	f.Add(testToken)
	f.Add("BD8D9D2B-5a5f-4f5a-a211-f591514ba1f3")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseVFToken(text)
		if err != nil {
			return
		}
		again, err := ParseVFToken(token.String())
		require.NoError(t, err)
		require.Equal(t, token, again)
		require.Len(t, text, 36)
	})
}
