// SPDX-License-Identifier: Apache-2.0
// Counts in a thousand goroutines, and tells each client how far; listens by MPTCP, as programs in Go do since 1.24.
package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var count int64
	for i := 0; i < 1000; i++ {
		go func() {
			for {
				time.Sleep(50 * time.Millisecond)
				atomic.AddInt64(&count, 1)
			}
		}()
	}
	port, _ := strconv.Atoi(os.Args[1])
	const mptcp = 262
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, mptcp)
	if err != nil {
		fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	}
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = syscall.Listen(fd, 10)
	}
	if err != nil {
		panic(err)
	}
	listener, err := net.FileListener(os.NewFile(uintptr(fd), "listener"))
	if err != nil {
		panic(err)
	}
	for {
		client, err := listener.Accept()
		if err == nil {
			text := fmt.Sprintln(atomic.LoadInt64(&count))
			fmt.Fprintf(client, "HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
			client.Close()
		}
	}
}
