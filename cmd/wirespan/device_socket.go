package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device"
	"github.com/wirespan/wirespan/mesh/node"
)

// bareSocket is the configuration socket of a bare device. Whoever removes its
// file ends the device.
type bareSocket struct {
	*net.UnixListener
	path string
}

// openUAPI makes the socket, or takes that of the environment.
func openUAPI(name string) (*bareSocket, error) {
	inherited, err := inheritedFD(envUAPI)
	if err != nil {
		return nil, err
	}
	var listener *net.UnixListener
	if inherited == nil {
		listener, err = device.ListenUAPI(filepath.Join(node.UAPIDirectory, name+".sock"))
	} else {
		listener, err = inheritedListener(inherited)
	}
	if err != nil {
		return nil, err
	}
	return &bareSocket{listener, listener.Addr().String()}, nil
}

func inheritedListener(f *os.File) (*net.UnixListener, error) {
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("configuration socket in %s: %w", envUAPI, err)
	}
	socket, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("configuration socket in %s: it is not a unix socket", envUAPI), l.Close())
	}
	socket.SetUnlinkOnClose(true)
	return socket, nil
}

// untilRemoved ends ctx when the socket's file is gone or replaced. stop must be
// called.
func (s *bareSocket) untilRemoved(ctx context.Context) (_ context.Context, stop func(), err error) {
	own, err := os.Lstat(s.path)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration socket: %w", err)
	}
	events, err := watchFile(s.path)
	if err != nil {
		return nil, nil, fmt.Errorf("watch configuration socket %s: %w", s.path, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer cancel()
		for buf := make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1); ; {
			// A look first: it may have gone before the watch began.
			if now, err := os.Lstat(s.path); err != nil || !os.SameFile(own, now) {
				s.SetUnlinkOnClose(false) // whatever has the name now is not ours
				return
			}
			if _, err := events.Read(buf); err != nil {
				return
			}
		}
	}()
	return ctx, func() {
		cancel()
		_ = events.Close()
		<-ended
	}, nil
}

// watchFile reports changes of a file's links and attributes.
func watchFile(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	// A socket's inode lives as long as the socket: its removal is a change of
	// its number of links.
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}
