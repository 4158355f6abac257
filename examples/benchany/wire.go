package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// headers are the bytes of Ethernet, IPv4 and UDP.
const headers = 42

// The namespaces, and the interfaces in them.
const (
	sender, receiver = "ixbSender", "ixbReceiver"
	from, to         = "ixb0", "ixb1"
)

// wire is a veth pair between two namespaces.
type wire struct{ frames string } // trafgen's description of the frame

func newWire(dir string, size int) (w *wire, err error) {
	w = &wire{frames: filepath.Join(dir, "frame.cfg")}
	defer func() {
		if err != nil {
			_ = w.close()
		}
	}()
	for _, line := range []string{
		"ip netns add " + sender,
		"ip netns add " + receiver,
		"ip link add " + from + " netns " + sender + " type veth peer name " + to + " netns " + receiver,
		"ip netns exec " + sender + " sysctl -qw net.ipv6.conf." + from + ".disable_ipv6=1",
		"ip netns exec " + receiver + " sysctl -qw net.ipv6.conf." + to + ".disable_ipv6=1",
		"ip -n " + sender + " link set " + from + " arp off up",
		"ip -n " + receiver + " link set " + to + " arp off up",
	} {
		if err := shell(line); err != nil {
			return nil, err
		}
	}
	return w, w.setSize(size)
}

// setSize makes the frames that are sent from now on size bytes long, without CRC.
func (w *wire) setSize(size int) error {
	length := size - 14
	text := fmt.Sprintf(`{ 0x02,0,0,0,0,1, 0x02,0,0,0,0,2, 0x08,0, 0x45,0, c16(%d), 0,0,0,0, 64,17,0,0, 10,0,0,1, 10,0,0,2, 0x10,0,0x20,0, c16(%d), 0,0, fill(0x55, %d) }`,
		length, length-20, size-headers)
	return os.WriteFile(w.frames, []byte(text), 0o644)
}

// shell runs a line of words.
func shell(line string) error {
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// send sends frames at a rate, 0 as fast as possible, and returns the rate.
func (w *wire) send(frames, rate int) (float64, error) {
	args := []string{"netns", "exec", sender, "trafgen", "-P", "1", "-o", from, "-c", w.frames, "-n", fmt.Sprint(frames)}
	if rate > 0 {
		args = append(args, "-b", fmt.Sprintf("%dpps", rate))
	}
	began := time.Now()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("trafgen: %w: %s", err, out)
	}
	return float64(frames) / time.Since(began).Seconds(), nil
}

func (w *wire) close() error {
	return errors.Join(shell("ip netns del "+sender), shell("ip netns del "+receiver))
}
