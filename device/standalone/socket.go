package standalone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/wirespan/wirespan/device"
)

// socket is the configuration socket of an interface. The interface ends when the
// socket's file is removed.
type socket struct {
	*net.UnixListener
	path string
}

// openSocket opens the socket of the interface name, or takes the inherited one.
func openSocket(name string) (*socket, error) {
	inherited, err := inheritedFD(EnvUAPI)
	if err != nil {
		return nil, err
	}
	var listener *net.UnixListener
	if inherited == nil {
		listener, err = device.ListenUAPI(filepath.Join(device.UAPIDirectory, name+".sock"))
	} else {
		listener, err = inheritedListener(inherited)
	}
	if err != nil {
		return nil, err
	}
	return &socket{listener, listener.Addr().String()}, nil
}

// inheritedListener returns the listener of a descriptor. It closes f, and removes
// the socket's file when it is closed itself.
func inheritedListener(f *os.File) (*net.UnixListener, error) {
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("configuration socket in %s: %w", EnvUAPI, err)
	}
	unixListener, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("configuration socket in %s: it is not a unix socket", EnvUAPI), l.Close())
	}
	unixListener.SetUnlinkOnClose(true)
	return unixListener, nil
}

// untilRemoved returns a context that ends when the socket's file is removed or
// replaced. stop must be called.
func (s *socket) untilRemoved(ctx context.Context) (_ context.Context, stop func(), err error) {
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
			// Look before the first event: the file may have been removed before
			// the watch began.
			if now, err := os.Lstat(s.path); err != nil || !os.SameFile(own, now) {
				s.SetUnlinkOnClose(false) // the file of that name is another one
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

// watchFile returns a descriptor from which events can be read when links or
// attributes of a file change.
func watchFile(path string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	// A socket's inode exists as long as the socket is open. So the removal of its
	// file is a change of its number of links.
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inotify"), nil
}
