//go:build !edge

package node_test

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/wirespan/wirespan/mesh/node"
)

// gRPC over the mesh. Names are resolved by the node, so the target is passed through.
func ExampleNode_Dial_grpc() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, client := pair(ctx)
	defer server.Close()
	defer client.Close()

	l, err := server.Listen("tcp", ":50051")
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	defer s.Stop()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(l) }()

	conn, err := grpc.NewClient("passthrough:///web.mesh:50051",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the mesh encrypts
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return client.Dial(ctx, "tcp", address)
		}))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Status)
	// Output: SERVING
}

// A database in the mesh. Drivers take a dialer: pgx as Config.DialFunc, go-sql-driver/mysql by
// RegisterDialContext. The one of this example speaks lines.
func ExampleNode_Dial_sql() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, client := pair(ctx)
	defer server.Close()
	defer client.Close()

	l, err := server.Listen("tcp", ":5432")
	if err != nil {
		log.Fatal(err)
	}
	go serveLines(l)

	db := sql.OpenDB(connector{dial: client.Dial, address: "web.mesh:5432"})
	defer db.Close()
	var answer string
	if err := db.QueryRowContext(ctx, "version").Scan(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer)
	// Output: answer to version
}

// pair starts the founder "web" and a node that joins it.
func pair(ctx context.Context) (server, client *node.Node) {
	server = start(ctx, "web", nil)
	return server, start(ctx, "client", invitation(server))
}

// serveLines answers each line with one.
func serveLines(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				_, _ = fmt.Fprintln(conn, "answer to", lines.Text())
			}
		}()
	}
}

// connector connects to a server of lines.
type connector struct {
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	address string
}

func (c connector) Driver() driver.Driver { return nil }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.dial(ctx, "tcp", c.address)
	if err != nil {
		return nil, err
	}
	return lineConn{conn}, nil
}

type lineConn struct{ net.Conn }

func (c lineConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c lineConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }

func (c lineConn) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if _, err := fmt.Fprintln(c, query); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return &oneRow{line: line}, err
}

type oneRow struct {
	line string
	read bool
}

func (r *oneRow) Columns() []string { return []string{"answer"} }
func (r *oneRow) Close() error      { return nil }

func (r *oneRow) Next(dest []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read, dest[0] = true, r.line[:len(r.line)-1]
	return nil
}
