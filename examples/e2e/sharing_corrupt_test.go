package e2e

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"golang.org/x/sys/unix"
)

// Misuses of an attached client's descriptors.
const (
	rawWrites        = "writes"  // every way to change the memory of data and control
	rawCorruptCursor = "corrupt" // random values in the cursor
)

// rawClient attaches without package stream, by the format of docs/STREAM.md, and
// misuses the descriptors.
func rawClient(spec client) error {
	fds, err := attachRaw(spec.Socket, spec.Name)
	if err != nil {
		return err
	}
	data, control, cursor := fds[0], fds[1], fds[2]
	fmt.Fprintln(os.Stderr, "attached")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // a line or the end
	if spec.Raw == rawWrites {
		for name, fd := range map[string]int{"data": data, "control": control} {
			if err := checkReadOnly(fd); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		fmt.Fprintln(os.Stderr, "every write failed")
		return nil
	}
	page, err := unix.Mmap(cursor, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	fmt.Fprintln(os.Stderr, "corrupting the cursor")
	for { // until the process is killed
		for i := 0; i < len(page); i += 8 {
			binary.LittleEndian.PutUint64(page[i:], random.Uint64()>>random.IntN(64))
		}
	}
}

// attachRaw attaches a lossless listener and returns the descriptors of data, control
// and cursor. The connection stays open until the process exits.
func attachRaw(path, name string) ([]int, error) {
	c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(c, &unix.SockaddrUnix{Name: path}); err != nil {
		return nil, err
	}
	request := append([]byte("XCAPATT1"), make([]byte, 24)...)
	binary.LittleEndian.PutUint32(request[8:], 4) // version
	binary.LittleEndian.PutUint32(request[24:], uint32(len(name)))
	if err := unix.Send(c, append(request, name...), 0); err != nil {
		return nil, err
	}
	answer, oob := make([]byte, 2048), make([]byte, unix.CmsgSpace(3*4))
	n, m, _, _, err := unix.Recvmsg(c, answer, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if n < 16 || string(answer[:8]) != "XCAPANS1" || binary.LittleEndian.Uint32(answer[12:]) != 0 {
		return nil, fmt.Errorf("refused: %q", answer[:n])
	}
	messages, err := unix.ParseSocketControlMessage(oob[:m])
	if err != nil {
		return nil, err
	}
	if len(messages) != 1 {
		return nil, errors.New("accepted without descriptors")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err == nil && len(fds) != 3 {
		err = fmt.Errorf("%d descriptors", len(fds))
	}
	return fds, err
}

// checkReadOnly returns an error if the memory of a descriptor can be changed.
func checkReadOnly(fd int) error {
	const length = 4096
	forbidden := func(what string, err error) error {
		if err == unix.EPERM || err == unix.EACCES {
			return nil
		}
		return fmt.Errorf("%s: %v instead of EPERM or EACCES", what, err)
	}
	again := func() error {
		f, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(f)
		_, err = unix.Mmap(f, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	}
	widen := func() error {
		m, err := unix.Mmap(fd, 0, length, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return fmt.Errorf("read-only mapping: %w", err)
		}
		defer func() { _ = unix.Munmap(m) }()
		return unix.Mprotect(m, unix.PROT_READ|unix.PROT_WRITE)
	}
	_, mapped := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	_, written := unix.Pwrite(fd, make([]byte, 16), 0)
	_, sealed := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_WRITE)
	return errors.Join(
		forbidden("writable mapping", mapped),
		forbidden("writable mapping of the memory opened again", again()),
		forbidden("mprotect", widen()),
		forbidden("pwrite", written),
		forbidden("ftruncate to nothing", unix.Ftruncate(fd, 0)),
		forbidden("more seals", sealed),
	)
}
