// Google's Bigtable emulator, which keeps nothing, with a journal that does: a stand-in of cbtemulator.
//
// With -dir, every request that changes something is written there once it has been answered, and asked again at the
// next start.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	_ "cloud.google.com/go/bigtable/admin/apiv2/adminpb"
	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"cloud.google.com/go/bigtable/bttest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

var (
	host = flag.String("host", "localhost", "the address to listen on")
	port = flag.Int("port", 9000, "the port to listen on")
	dir  = flag.String("dir", "", "the folder of the journal")
)

const maxMessage = 256 << 20

var changing = map[string]bool{
	"CreateTable": true, "DeleteTable": true, "ModifyColumnFamilies": true, "DropRowRange": true,
	"MutateRow": true, "CheckAndMutateRow": true, "ReadModifyWriteRow": true,
}

type journal struct {
	lock sync.Mutex
	file *os.File // nil while it is replayed
}

func (j *journal) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if !changing[filepath.Base(info.FullMethod)] {
		return handle(ctx, request)
	}
	j.lock.Lock()
	defer j.lock.Unlock()
	answer, err := handle(ctx, request)
	if err != nil || j.file == nil {
		return answer, err
	}
	return answer, j.append(info.FullMethod, request.(proto.Message))
}

func (j *journal) append(method string, request proto.Message) error {
	packed, err := anypb.New(request)
	if err != nil {
		return err
	}
	data, err := proto.Marshal(packed)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(j.file, method, base64.StdEncoding.EncodeToString(data)); err != nil {
		return err
	}
	return j.file.Sync()
}

func (j *journal) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	service, isChange := strings.CutSuffix(info.FullMethod, "/MutateRows")
	if !isChange || j.file == nil {
		return handle(server, stream)
	}
	j.lock.Lock()
	defer j.lock.Unlock()
	asked := &received{ServerStream: stream}
	if err := handle(server, asked); err != nil || asked.request == nil {
		return err
	}
	for _, entry := range asked.request.Entries {
		request := &bigtablepb.MutateRowRequest{
			TableName: asked.request.TableName, RowKey: entry.RowKey, Mutations: entry.Mutations,
		}
		if err := j.append(service+"/MutateRow", request); err != nil {
			return err
		}
	}
	return nil
}

// received is a stream that remembers what it was asked.
type received struct {
	grpc.ServerStream
	request *bigtablepb.MutateRowsRequest
}

func (r *received) RecvMsg(message any) error {
	err := r.ServerStream.RecvMsg(message)
	if request, ok := message.(*bigtablepb.MutateRowsRequest); ok && err == nil {
		r.request = proto.Clone(request).(*bigtablepb.MutateRowsRequest)
	}
	return err
}

func (j *journal) replay(path string, dial func(context.Context, string) (net.Conn, error)) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient("passthrough:self", grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxMessage)
	for lines.Scan() {
		method, text, _ := strings.Cut(lines.Text(), " ")
		if err := repeat(connection, method, text); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
	}
	j.file = file
	return lines.Err()
}

func repeat(connection *grpc.ClientConn, method, text string) error {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	packed := new(anypb.Any)
	if err := proto.Unmarshal(data, packed); err != nil {
		return err
	}
	request, err := packed.UnmarshalNew()
	if err != nil {
		return err
	}
	return connection.Invoke(context.Background(), method, request, new(emptypb.Empty))
}

// connections is a listener for those that it is given.
type connections struct {
	net.Listener
	waiting chan net.Conn
}

func (c *connections) Accept() (net.Conn, error) { return <-c.waiting, nil }

func (c *connections) dial(context.Context, string) (net.Conn, error) {
	own, other := net.Pipe()
	c.waiting <- other
	return own, nil
}

func run() error {
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", *host, *port))
	if err != nil {
		return err
	}
	kept, all := new(journal), &connections{listener, make(chan net.Conn)}
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(kept.unary), grpc.StreamInterceptor(kept.stream),
	}
	if _, err := bttest.NewServerWithListener(all, options...); err != nil {
		return err
	}
	if *dir != "" {
		if err := kept.replay(filepath.Join(*dir, "journal"), all.dial); err != nil {
			return fmt.Errorf("replaying the journal: %w", err)
		}
	}
	fmt.Printf("serving on %s\n", listener.Addr())
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		all.waiting <- connection
	}
}

func main() {
	flag.Parse()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	go func() { log.Fatal(run()) }()
	<-ended
}
