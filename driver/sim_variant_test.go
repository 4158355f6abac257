package driver_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ixcap/ixcap/driver"
)

func TestModelEvery82599Receives(t *testing.T) {
	for id, cage := range map[string]bool{
		"10fb": true, "1507": true, "1529": true, "154a": true, "154d": true, "1557": true,
		"10f7": false, "10f8": false, "10f9": false, "10fc": false, "1514": false, "1517": false, "152a": false, "154f": false,
	} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			r := open(t, "gen,size=60,count=500,backpressure,id="+id, driver.Config{Queues: 2, RingSize: 512})
			require.Equal(t, "8086:"+id, fmt.Sprint(r.dev.ID()))
			require.Contains(t, r.port.Model(), "82599")
			require.NoError(t, r.port.Start())
			require.Len(t, r.receive(), 500)
			require.Equal(t, driver.Link{Up: true, Speed: 10000}, r.port.Link())
			r.balance()
			m, err := r.port.Module()
			if cage {
				require.NoError(t, err)
				require.Equal(t, driver.Module10GSR, m.Kind)
				return
			}
			require.ErrorContains(t, err, r.port.Model()+" has no SFP+ cage")
			_, err = r.port.Diagnostics()
			require.ErrorContains(t, err, r.port.Model()+" has no SFP+ cage")
		})
	}
}
