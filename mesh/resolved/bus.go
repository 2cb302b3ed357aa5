package resolved

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

const (
	service = "org.freedesktop.resolve1"
	object  = "/org/freedesktop/resolve1"
	daemon  = "org.freedesktop.DBus"
)

// systemBus is a connection to the system bus.
type systemBus struct {
	conn    *dbus.Conn
	signals chan *dbus.Signal
	changes chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}
}

// connectSystem connects to the system bus. The connection lasts beyond ctx, so that what was
// set can be taken back.
func connectSystem(ctx context.Context) (bus, error) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	defer context.AfterFunc(ctx, cancel)()
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(lasting))
	if err != nil {
		cancel()
		return nil, err
	}
	b := &systemBus{conn, make(chan *dbus.Signal, 8), make(chan struct{}, 1), cancel, make(chan struct{})}
	conn.Signal(b.signals)
	go b.watch()
	err = conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(daemon), dbus.WithMatchInterface(daemon),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, service))
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// watch coalesces signals until the connection ends.
func (b *systemBus) watch() {
	defer close(b.done)
	defer close(b.changes)
	for range b.signals { // the library closes it with the connection
		select {
		case b.changes <- struct{}{}:
		default:
		}
	}
}

func (b *systemBus) changed() <-chan struct{} { return b.changes }

func (b *systemBus) close() {
	_ = b.conn.Close()
	b.cancel()
	<-b.done
}

func (b *systemBus) owner(ctx context.Context) (owner string, err error) {
	err = b.conn.BusObject().CallWithContext(ctx, daemon+".GetNameOwner", 0, service).Store(&owner)
	var reply dbus.Error
	if errors.As(err, &reply) && reply.Name == daemon+".Error.NameHasNoOwner" {
		return "", nil
	}
	return owner, err
}

func (b *systemBus) call(ctx context.Context, method string, args ...any) error {
	err := b.conn.Object(service, object).CallWithContext(ctx, service+".Manager."+method, dbus.FlagNoAutoStart, args...).Err
	var reply dbus.Error
	if !errors.As(err, &reply) {
		return err
	}
	kind := map[string]error{
		service + ".LinkBusy":                              errBusy,
		daemon + ".Error.AccessDenied":                     errDenied,
		daemon + ".Error.InteractiveAuthorizationRequired": errDenied,
		daemon + ".Error.UnknownMethod":                    errUnknownMethod,
	}[reply.Name]
	if kind == nil {
		return fmt.Errorf("%s: %w", reply.Name, err)
	}
	return kind
}
