package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	engines "github.com/ixcap/ixcap/capture"
	"github.com/ixcap/ixcap/capture/nic"
	"github.com/ixcap/ixcap/capture/stream"
	_ "github.com/ixcap/ixcap/sim"
	"github.com/ixcap/ixcap/sim/wire"
)

// tcpdump writes what it reads of a capture of generated frames on the model to a savefile,
// which it returns.
func tcpdump(t *testing.T, b built, gen string, cfg nic.Config, policy string) []byte {
	port, err := nic.Open("sim:"+gen+",backpressure", cfg)
	require.NoError(t, err)
	engine, err := engines.New(port, engines.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, engine.Close()) }()
	path := filepath.Join(t.TempDir(), "eth7-queue0.sock")
	_, err = engine.Stream(0).Serve(stream.ServerConfig{Path: path})
	require.NoError(t, err)
	var out, text bytes.Buffer
	cmd := exec.Command("tcpdump", "-i", "ixcap:"+path, "-w", "-", "--time-stamp-precision=nano", "udp and not port 7")
	cmd.Env, cmd.Stdout, cmd.Stderr = b.environment("PCAP_POLICY="+policy), &out, &text
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	require.Eventually(t, func() bool { return len(engine.Stream(0).Stats().Listeners) == 1 }, timeout, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	ledger, err := engine.Run(ctx, timeout)
	require.NoError(t, err)
	require.NoError(t, ledger.Balanced())
	require.NoError(t, cmd.Wait(), "%s", text.String())
	require.Contains(t, text.String(), "0 packets dropped by kernel")
	return out.Bytes()
}

// frames returns those of a savefile.
func frames(t *testing.T, savefile []byte) (all [][]byte) {
	require.Greater(t, len(savefile), 24)
	for b := savefile[24:]; len(b) > 0; {
		n := binary.LittleEndian.Uint32(b[8:])
		require.Equal(t, n, binary.LittleEndian.Uint32(b[12:]))
		all = append(all, b[16:16+n])
		b = b[16+n:]
	}
	return all
}

// A program reads from a zero-copy capture what it reads from one that copies.
func TestTcpdumpReadsAZeroCopyCapture(t *testing.T) {
	needs(t, "tcpdump")
	b := build(t)
	const gen = "gen,size=60-9014,count=6000,flows=100"
	options, err := wire.ParseOptions(gen)
	require.NoError(t, err)
	generated, err := wire.NewGenerator(options)
	require.NoError(t, err)
	copied := frames(t, tcpdump(t, b, gen, nic.Config{}, "lossless"))
	placed := frames(t, tcpdump(t, b, gen, nic.Config{Chunks: 30, ChunkSize: 64}, "lossless"))
	require.Len(t, copied, int(generated.Count()))
	require.Len(t, placed, len(copied))
	for i := range copied {
		require.True(t, bytes.Equal(generated.Append(nil, uint64(i)), placed[i]), "frame %d", i)
		require.True(t, bytes.Equal(copied[i], placed[i]), "frame %d", i)
	}
}
