package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/ixcap/ixcap/pci/vfiouser/proto"
)

// session is one client's connection.
type session struct {
	dev    Device
	layout Layout
	conn   *proto.Conn
	client proto.Capabilities
	queue  *queue
	host   *host
	buf    []byte // replies are built here
}

// serve runs a connection until it ends. The caller's goroutine is the worker.
func (s *session) serve(timeout time.Duration) error {
	if err := s.negotiate(timeout); err != nil {
		return fmt.Errorf("negotiate: %w", err)
	}
	s.queue = newQueue()
	s.queue.timeout = timeout
	s.host = newHost(s.conn, s.queue, s.layout.Vectors, s.client.MaxTransfer, timeout)
	defer s.host.release()
	defer s.queue.release()

	s.dev.Attach(s.host)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		s.host.sendUnmapped()
	}()
	// After Detach no access is queued.
	defer func() {
		s.dev.Detach()
		close(s.host.unmapped)
		<-sent
	}()

	done := make(chan error, 1)
	go func() {
		err := s.receive()
		s.host.abort()
		s.queue.close()
		done <- err
	}()
	werr := s.work()
	s.host.abort()
	s.queue.close()
	rerr := <-done
	if werr != nil {
		return werr
	}
	return rerr
}

// negotiate handles the client's VERSION, which must be its first message.
func (s *session) negotiate(timeout time.Duration) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	var m proto.Message
	defer m.Release()
	if err := s.conn.Receive(&m); err != nil {
		s.refuse(err)
		return err
	}
	answer, err := s.version(&m)
	if err != nil {
		_ = s.conn.Reply(&m, err, nil)
		return err
	}
	if err := s.conn.Reply(&m, nil, nil, answer.Append(nil)); err != nil {
		return err
	}
	return s.conn.SetReadDeadline(time.Time{})
}

func (s *session) version(m *proto.Message) (proto.VersionMsg, error) {
	switch {
	case m.Command != proto.Version || m.Flags&proto.TypeMask != proto.TypeCommand:
		return proto.VersionMsg{}, fmt.Errorf("first message is %v, want %v: %w", m.Command, proto.Version, syscall.EINVAL)
	case m.FDs() > 0:
		return proto.VersionMsg{}, fmt.Errorf("%v takes no descriptors: %w", m.Command, syscall.EINVAL)
	}
	proposal, err := proto.ParseVersion(m.Body)
	if err != nil {
		return proto.VersionMsg{}, err
	}
	s.client = proposal.Capabilities
	return proto.Negotiate(proposal)
}

// refuse replies to a message with an invalid header, if err is about one.
func (s *session) refuse(err error) {
	var frame *proto.FrameError
	if errors.As(err, &frame) {
		_ = s.conn.ReplyTo(frame.Header, err, nil)
	}
}

// receive reads messages. Replies go to the waiting threads, requests to the worker.
// An orderly end of the client is no error.
func (s *session) receive() error {
	for {
		m := s.queue.alloc()
		if err := s.conn.Receive(m); err != nil {
			s.refuse(err)
			if err == io.EOF || errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return err
		}
		switch m.Flags & proto.TypeMask {
		case proto.TypeCommand:
			if err := s.queue.put(m); err != nil {
				return err
			}
		case proto.TypeReply:
			m.Release() // replies have no descriptors
			// A reply without a waiting thread can be late: no error.
			if !s.host.deliver(m) {
				s.queue.recycle(m)
			}
		default:
			err := fmt.Errorf("message of type %d: %w", m.Flags&proto.TypeMask, syscall.EINVAL)
			_ = s.conn.Reply(m, err, nil)
			s.queue.recycle(m)
		}
	}
}

// work executes and answers requests until the queue ends.
func (s *session) work() error {
	for {
		m := s.queue.get()
		if m == nil {
			return nil
		}
		answer, err := s.execute(m)
		m.Release() // unused descriptors are closed before the reply
		err = s.conn.Reply(m, errNo(err), answer.fds, answer.parts...)
		s.queue.recycle(m)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				return nil
			}
			return fmt.Errorf("reply to client: %w", err)
		}
	}
}
