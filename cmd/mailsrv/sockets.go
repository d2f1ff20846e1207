package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"mailsrv/internal/config"
	"mailsrv/internal/listen"
)

// socket is an open port and its protocol.
type socket struct {
	net.Listener
	key      string // of the configuration
	proto    string
	security string
}

// openSockets opens every port of a configuration, or none.
func openSockets(cfg *config.Config) (sockets []socket, err error) {
	for _, part := range portsOf(cfg) {
		for _, address := range part.addresses {
			l, err := listen.TCP(context.Background(), address)
			if err != nil {
				closeSockets(sockets)
				return nil, fmt.Errorf("%s %s %s (%s)", part.key, address, whyNotOpen(address, err), cfg.Source())
			}
			sockets = append(sockets, socket{l, part.key, part.proto, part.security})
		}
	}
	if len(sockets) == 0 {
		return nil, fmt.Errorf("there is nothing to listen on: set smtp.listen, pop3.listen or pop3.listen_tls (%s)", cfg.Source())
	}
	return sockets, nil
}

func closeSockets(sockets []socket) {
	for _, k := range sockets {
		k.Close()
	}
}

// whyNotOpen returns why a port cannot be opened, and which program may hold it.
func whyNotOpen(address string, err error) string {
	_, port, _ := net.SplitHostPort(address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "is taken by another program, perhaps another mail server: find it with: ss -ltnp sport = :" + port
	case errors.Is(err, syscall.EACCES):
		return "may be opened only by root or with CAP_NET_BIND_SERVICE: start the server through systemd or as root, or choose a port above 1023"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "is no address of this machine: see: ip address"
	}
	var network *net.OpError
	if errors.As(err, &network) {
		err = network.Err
	}
	return "cannot be opened: " + err.Error()
}
