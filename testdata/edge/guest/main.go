// Command guest is what an emulated box of TestEdge lacks in busybox:
//
//	guest serve                        runs scripts for the lab, and sends back what it receives
//	guest echo ADDRESS:PORT BYTES      sends random bytes to such a server and checks what comes back
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// Ports of the server.
const (
	scriptPort = ":2323"
	echoPort   = ":9001"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		failed := make(chan error)
		go func() { failed <- serve(echoPort, repeat) }()
		go func() { failed <- serve(scriptPort, script) }()
		return <-failed
	case len(args) == 3 && args[0] == "echo":
		size, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return fmt.Errorf("number of bytes: %w", err)
		}
		return echo(args[1], size)
	}
	return errors.New("usage: guest serve, or guest echo ADDRESS:PORT BYTES")
}

// serve handles each connection to an address in a goroutine.
func serve(address string, handle func(*net.TCPConn)) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			handle(conn.(*net.TCPConn))
		}()
	}
}

// repeat sends back what it receives, until the other side closes.
func repeat(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }

// script runs what it receives as a shell script. It sends the output, a zero byte, and
// the exit code.
func script(conn *net.TCPConn) {
	text, err := io.ReadAll(conn)
	if err != nil {
		return
	}
	cmd := exec.Command("/bin/sh", "-c", string(text))
	cmd.Stdout, cmd.Stderr = conn, conn
	// A program that the script leaves in the background may keep the output open.
	cmd.WaitDelay = time.Second
	_ = cmd.Run()
	_, _ = fmt.Fprintf(conn, "\x00%d", cmd.ProcessState.ExitCode())
}

// echo sends random bytes to an echo server and compares the checksum of what comes back.
func echo(address string, size int64) error {
	dialled, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	defer dialled.Close()
	conn := dialled.(*net.TCPConn)
	_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
	sent, received := sha256.New(), sha256.New()
	done := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.MultiWriter(conn, sent), rand.Reader, size)
		done <- errors.Join(err, conn.CloseWrite())
	}()
	n, err := io.Copy(received, conn)
	if err := errors.Join(<-done, err); err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, size, err)
	}
	if a, b := sent.Sum(nil), received.Sum(nil); string(a) != string(b) {
		return fmt.Errorf("sent %d bytes %x, %d came back as %x", size, a, n, b)
	}
	fmt.Printf("%d bytes, SHA-256 %x\n", n, sent.Sum(nil))
	return nil
}
